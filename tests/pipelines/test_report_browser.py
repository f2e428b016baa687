"""The report in a real browser: nothing runs, nothing leaves, everything shows."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import sync_playwright

from collector.workspace import Workspace
from pipelines.machine import BROWSER
from pipelines.reports.credits import credits
from tests.conftest import need
from tests.pipelines.conftest import PAYLOADS

WATCH = """
window.broken = [];
document.addEventListener("securitypolicyviolation", event => broken.push(event.violatedDirective));
"""
Look = Callable[[Path], tuple[list[str], Any]]


@pytest.fixture(scope="module")
def look() -> Iterator[Look]:
    """Opens a page in headless Chromium; gives what went wrong and the open page."""
    chromium = need(BROWSER)
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=chromium, args=flags)

        def opened(path: Path) -> tuple[list[str], Any]:
            wrong: list[str] = []
            page = browser.new_page()
            page.add_init_script(WATCH)
            page.on("console", lambda message: wrong.append(f"console: {message.text}"))
            page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
            page.on("dialog", lambda dialog: dialog.dismiss())
            page.on("dialog", lambda dialog: wrong.append("a script ran"))
            page.on("request", lambda request: wrong.append(request.url) if _leaves(request.url) else None)
            page.goto(path.as_uri())
            wrong.extend(f"policy: {broken}" for broken in page.evaluate("window.broken"))
            return wrong, page

        yield opened
        browser.close()


def _leaves(url: str) -> bool:
    return not url.startswith(("file:", "data:"))


@pytest.mark.browser
def test_each_page_opens_in_a_browser_without_an_error_or_a_request(site: Path, look: Look, tmp_path: Path) -> None:
    shown = ""
    for path in sorted(site.glob("*.html")):
        wrong, page = look(path)
        assert wrong == [], path.name
        assert page.evaluate("[...document.images].filter(image => !image.naturalWidth).length") == 0
        for width in (1200, 420):
            page.set_viewport_size({"width": width, "height": 900})
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (path.name, width)
        shown += page.inner_text("main")
        picture = Image.open(io.BytesIO(page.screenshot()))
        colors = picture.convert("RGB").getcolors(maxcolors=2**24)
        assert colors is not None
        assert len(colors) > 100, path.name
        page.close()
    for payload in PAYLOADS[:-1]:
        assert _visible(payload) in _visible(shown)


def _visible(text: str) -> str:
    return re.sub("[\x1b\u202e]", "", text)


@pytest.mark.browser
def test_the_filter_shows_the_credits_of_one_license(site: Path, full: Workspace, look: Look, tmp_path: Path) -> None:
    pages = (site / "credits.html", Path(credits(full, out=tmp_path).path) / "attribution.html")
    for path in pages:
        wrong, page = look(path)
        assert wrong == []
        titles = page.locator("section.kind h2")
        assert titles.all_inner_texts() == ["CC BY-SA 4.0", "no license"]
        page.check("#k2")
        assert [titles.nth(k).is_visible() for k in (0, 1)] == [False, True]
        page.check("#k0")
        assert [titles.nth(k).is_visible() for k in (0, 1)] == [True, True]
        page.close()


@pytest.mark.browser
def test_j_and_k_walk_through_the_disagreements(site: Path, look: Look) -> None:
    wrong, page = look(site / "disagreements.html")
    where = "[...document.querySelectorAll('figure.case')].indexOf(document.activeElement)"
    places = [page.evaluate(where)]
    for key in ("j", "j", "j", "k", "k", "k", "k"):
        page.keyboard.press(key)
        places.append(page.evaluate(where))
    assert places == [-1, 0, 1, 2, 1, 0, 0, 0]
    assert wrong == []
    page.close()


@pytest.mark.browser
def test_a_number_of_the_confusion_opens_its_images(site: Path, look: Look) -> None:
    wrong, page = look(site / "model.html")
    cell = page.locator("table.matrix td a").first
    opened = page.locator(f"{cell.get_attribute('href')} img").first
    assert not opened.is_visible()
    cell.focus()
    page.keyboard.press("Enter")
    opened.wait_for(state="visible")
    assert opened.get_attribute("alt").startswith("image ")
    assert wrong == []
    page.close()


@pytest.mark.browser
def test_the_browser_check_itself_finds_a_script_and_a_foreign_picture(site: Path, look: Look, tmp_path: Path) -> None:
    text = (site / "index.html").read_text(encoding="utf-8")
    planted = "<script>alert(1)</script><img src='http://127.0.0.1:9/x.png'><p style='color:red'>x</p></main>"
    (tmp_path / "planted.html").write_text(text.replace("</main>", planted), encoding="utf-8")
    wrong, _ = look(tmp_path / "planted.html")
    assert {"policy: script-src-elem", "policy: img-src", "policy: style-src-attr"} <= set(wrong)
    open_ = re.sub(r"<meta http-equiv=[^>]*>", "", text).replace("</main>", planted)
    (tmp_path / "open.html").write_text(open_, encoding="utf-8")
    wrong, _ = look(tmp_path / "open.html")
    assert "a script ran" in wrong
    assert "http://127.0.0.1:9/x.png" in wrong
