"""Pages rendered by Chromium, which has no network here: all that a page may have is fetched by Scrapy.

Playwright hands us every request of a page, and what we hand back came through Scrapy's downloader: robots.txt,
addresses that are not public, pauses, sizes and proxies are judged there, as for everything else. Films and fonts are
not loaded at all, and every picture is a blank one. What Playwright does not see (WebSocket, WebRTC, a mistake in it)
meets a proxy where nobody answers, and no resolver of names. The sandbox is on, and Chromium is never root: there it is
`nobody`. docs/decisions/0006-chromium-has-no-network.md says why.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import shlex
import shutil
import socket
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

from scrapy.http import Response

from collector.errors import UsageError

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
LOADED = ("script", "stylesheet", "xhr", "fetch")  # what a page may have beside itself
MAX_REQUESTS = 500  # of one page
MAX_HTML = 8_000_000
STEP_S = 20.0  # a page that keeps its own thread busy is left
QUIET_S, SETTLE_S, ROUNDS = 0.25, 6.0, 3  # nothing asked for so long: the page is done; how often that must be so
NOT_SENT = {"host", "user-agent", "content-length", "connection", "accept-encoding", "cookie"}
NOT_GIVEN = {"content-encoding", "content-length", "transfer-encoding", "connection", "set-cookie", "link", "refresh"}

FLAGS = [
    "--proxy-bypass-list=<-loopback>",  # by default, what is on this machine is asked without the proxy
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--webrtc-ip-handling-policy=disable_non_proxied_udp",
    "--force-webrtc-ip-handling-policy=disable_non_proxied_udp",
    "--disable-background-networking",
    "--disable-quic",
    "--disable-gpu",
]
BLANK = b'<svg xmlns="http://www.w3.org/2000/svg" width="800" height="600"/>'  # so that pages have their height
SCROLL = """async () => {
    const page = document.scrollingElement || document.documentElement;
    const height = each => each === page ? innerHeight : each.clientHeight;
    const scrolls = each => each.clientHeight > 200 && each.scrollHeight > each.clientHeight + 100
        && /auto|scroll/.test(getComputedStyle(each).overflowY);
    const boxes = [page, ...[...document.querySelectorAll("body *")].filter(scrolls).slice(0, 5)];
    const at_end = () => boxes.every(each => each.scrollTop + height(each) >= each.scrollHeight - 2);
    for (let step = 0; step < 40; step++) {
        for (const each of boxes) {
            each.scrollBy({top: 0.9 * height(each), behavior: "instant"});
            (each === page ? window : each).dispatchEvent(new Event("scroll"));
        }
        await new Promise(done => setTimeout(done, 20));
        if (at_end()) return true;
    }
    return false;
}"""
MORE_WORDS = "|".join((
    r"(load|show|view|see)( \w+)? more\b", "more( (photos|images|pictures|results|items))?$", "next page$",
    "mehr", "weitere", "(afficher|voir) plus", "(ver|cargar) más", "mostra altr", "carregar mais", "もっと", "更多",
))  # fmt: skip
MORE = """promise => {
    const words = new RegExp(`^(${promise})`, "i");
    for (const each of document.querySelectorAll("button, [role=button], a[href^='#'], a[href^='javascript:']"))
        if (words.test(each.innerText.trim()) && each.offsetParent && !each.disabled) { each.click(); return true; }
    return false;
}"""
HTML = f"() => document.documentElement.outerHTML.slice(0, {MAX_HTML})"
Fetch = Callable[[str, str, Mapping[str, str], bytes], Awaitable[Response]]  # (address, method, headers, body)


class Browser:
    """A Chromium that is started for the first page. `fetch` is how its pages get what they ask for."""

    def __init__(self, fetch: Fetch, *, chromium: str = "", agent: str = "") -> None:
        self._fetch, self._chromium, self._agent = fetch, chromium, agent
        self._chrome: Any = None
        self._opened = AsyncExitStack()

    async def open(self, response: Response) -> Rendering:
        """Render a page whose HTML is `response`, in a context of its own.

        Raises:
            UsageError: Playwright or Chromium is missing, or the sandbox does not work here.
        """
        if self._chrome is None:
            try:
                self._chrome = await self._start()
            except BaseException:
                await self.close()
                raise
        context = await self._chrome.new_context(
            user_agent=self._agent or None,
            viewport={"width": 1280, "height": 2000},
            service_workers="block",
            accept_downloads=False,
        )
        rendering = Rendering(context, self._fetch, response)
        try:
            await rendering.begin()
        except BaseException:
            await rendering.close()
            raise
        return rendering

    async def close(self) -> None:
        """End Chromium and remove its profile. The next page starts another one."""
        self._chrome = None
        await self._opened.aclose()

    async def _start(self) -> Any:
        try:
            from playwright.async_api import Error, async_playwright
        except ImportError:
            raise UsageError(
                "pages are rendered with Playwright, which is not installed",
                hint="pip install 'collect-dataset[browser]'",
            ) from None
        folder = tempfile.TemporaryDirectory(prefix="collect-chromium-", ignore_cleanup_errors=True)
        self._opened.enter_context(folder)
        dead = self._opened.enter_context(socket.socket())
        dead.bind(("127.0.0.1", 0))  # ours, so that nobody else answers there; and we never listen
        playwright = await self._opened.enter_async_context(async_playwright())
        chromium = find_chromium(self._chromium) or playwright.chromium.executable_path
        if not Path(chromium).is_file():
            raise UsageError(
                f"there is no Chromium to render pages with{f' at {chromium}' if self._chromium else ''}",
                hint="`apt-get install chromium` or `playwright install chromium`, or set sources.site.chromium",
            )
        try:
            chrome = await playwright.chromium.launch(
                executable_path=launcher(chromium, Path(folder.name)),
                chromium_sandbox=True,
                env={"HOME": folder.name, "PATH": os.environ.get("PATH", "/usr/bin:/bin")},  # no keys in there
                args=[*FLAGS, f"--proxy-server=http://127.0.0.1:{dead.getsockname()[1]}"],
            )
            self._opened.push_async_callback(_quietly, chrome.close)
            session = await chrome.new_browser_cdp_session()
            command = (await session.send("SystemInfo.getInfo"))["commandLine"]
        except Error as error:
            raise _no_sandbox(str(error)) from error
        if "--no-sandbox" in command:  # a wrapper script may add it
            raise _no_sandbox("it was started with --no-sandbox")
        return chrome


class Rendering:
    """An open page; `html` is what it shows by now, empty when it does not answer. `more` scrolls it."""

    def __init__(self, context: Any, fetch: Fetch, response: Response) -> None:
        self._context, self._fetch, self._response = context, fetch, response
        self.url = response.url
        self._page: Any = None
        self._begun = False
        self._pending = self._asked = self._barren = 0
        self._active = 0.0
        self.html = ""

    async def begin(self) -> None:
        """Load the page, and wait until it asks for nothing more."""
        from playwright.async_api import Error

        self._page = await self._context.new_page()
        self._context.on("page", lambda popup: asyncio.ensure_future(_quietly(popup.close)))
        await self._context.route("**/*", self._answer)
        with suppress(Error):  # a page that is not done in time is read as far as it is
            await self._page.goto(self._response.url, wait_until="domcontentloaded", timeout=STEP_S * 1000)
        await self._settle()

    async def more(self) -> bool:
        """Scroll down, at the end press a button that promises more; whether there may be more to see."""
        before = self.html
        at_end = await self._evaluate(SCROLL)
        await self._settle()
        if at_end and self.html == before and await self._evaluate(MORE, MORE_WORDS):
            await self._settle()
        self._barren = 0 if self.html != before or at_end is False else self._barren + 1
        return bool(self.html) and at_end is not None and self._barren < ROUNDS

    async def close(self) -> None:
        """Forget the page and all that it has kept."""
        await _quietly(self._context.close)

    async def _evaluate(self, script: str, *args: str) -> Any:
        from playwright.async_api import Error

        try:
            async with asyncio.timeout(STEP_S):
                return await self._page.evaluate(script, *args)
        except (Error, TimeoutError):
            return None

    async def _settle(self) -> None:
        end = time.monotonic() + SETTLE_S
        self._active = time.monotonic()
        while time.monotonic() < end and (self._pending or time.monotonic() - self._active < QUIET_S):
            await asyncio.sleep(0.02)
        self.html = str(await self._evaluate(HTML) or "")

    async def _answer(self, route: Any) -> None:
        """Give a page what it asks for, if it may have it."""
        self._active = time.monotonic()
        self._pending += 1
        try:
            reply = await self._reply(route.request)
            if reply is None:
                await _quietly(route.abort, "aborted")  # so that a page which wants to leave stays as it is
            else:
                await _quietly(route.fulfill, **reply)
        finally:
            self._pending -= 1
            self._active = time.monotonic()

    async def _reply(self, request: Any) -> dict[str, Any] | None:
        if request.resource_type == "image":
            return {"headers": {"Content-Type": "image/svg+xml", "Access-Control-Allow-Origin": "*"}, "body": BLANK}
        response = await self._allowed(request)
        if response is None:
            return None
        told = response.headers.to_unicode_dict().items()
        headers = {str(name): value for name, value in told if str(name).lower() not in NOT_GIVEN}
        return {"status": response.status, "headers": headers, "body": response.body}

    async def _allowed(self, request: Any) -> Response | None:
        if request.resource_type == "document":  # the first is ours; the others are frames, or lead elsewhere
            begun, self._begun = self._begun, True
            return None if begun else self._response
        if request.resource_type not in LOADED or not request.url.startswith(("http://", "https://")):
            return None
        self._asked += 1
        if self._asked > MAX_REQUESTS or request.method not in ("GET", "POST"):
            return None
        headers = {name: value for name, value in request.headers.items() if name.lower() not in NOT_SENT}
        try:
            return await self._fetch(request.url, request.method, headers, request.post_data_buffer or b"")
        except Exception:  # refused or failed: for the page it is a request that did not come back
            return None


def find_chromium(path: str = "") -> str:
    """The Chromium to use: the one that is named, or one on PATH; empty if there is none."""
    if path:
        return path
    return next((found for name in NAMES if (found := shutil.which(name))), "")


def launcher(chromium: str, folder: Path) -> str:
    """What to start: Chromium itself, or for root a script that starts it as `nobody` with a profile in `folder`."""
    if os.geteuid() != 0:
        return chromium
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise UsageError(
            "Chromium is not started as root, and `setpriv` to start it as another user is missing",
            hint="install util-linux, or crawl as an ordinary user",
        )
    nobody = pwd.getpwnam("nobody")
    profile = folder / "profile"
    profile.mkdir(mode=0o700)
    os.chown(profile, nobody.pw_uid, nobody.pw_gid)
    folder.chmod(0o755)
    script = folder / "chromium"
    become = [setpriv, f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups", "--inh-caps=-all"]
    # The last of two equal flags counts: Playwright's own profile belongs to root
    script.write_text(
        f'#!/bin/sh\nHOME={shlex.quote(str(profile))} exec {shlex.join([*become, chromium])} "$@" '
        f"--user-data-dir={shlex.quote(str(profile))}\n"
    )
    script.chmod(0o755)
    return str(script)


def _no_sandbox(said: str) -> UsageError:
    lines = [line.strip() for line in said.splitlines() if "sandbox" in line.lower() or "denied" in line.lower()]
    why = (lines or said.splitlines() or [""])[0][:300]
    return UsageError(
        f"Chromium does not start with its sandbox on, and pages of strangers are not opened without it: {why}",
        hint="allow user namespaces on this machine, name another Chromium in sources.site.chromium, or crawl without "
        "--browser",
    )


async def _quietly(act: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any) -> None:
    """Do something to a page that may be gone by now."""
    with suppress(Exception):
        await act(*args, **kwargs)
