// j and k go to the next and the previous case, o opens its task.
(() => {
  const cases = [...document.querySelectorAll("figure.case")];
  let at = -1;
  document.addEventListener("keydown", event => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const step = { j: 1, k: -1 }[event.key];
    if (step && cases.length) {
      at = Math.min(Math.max(at + step, 0), cases.length - 1);
      cases[at].focus({ preventScroll: true });
      cases[at].scrollIntoView({ block: "center" });
    }
    if (event.key === "o" && at >= 0) cases[at].querySelector("a.task")?.click();
  });
})();
