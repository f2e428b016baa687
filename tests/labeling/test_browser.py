"""An annotator at work, in a real browser: signs in, reads the guideline, labels with keys, sees a proposal, skips."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Page, sync_playwright

from collector.catalog import labels
from collector.splits import draw
from collector.workspace import Workspace
from labeling import accounts
from labeling.interface import UNSURE
from labeling.lifecycle import folder_of
from labeling.pull import pull
from labeling.push import Campaign, push
from labeling.rounds import Rules
from labeling.server import Server
from pipelines.machine import BROWSER
from tests.conftest import need
from tests.labeling.desks import model, tasks_of

pytestmark = [pytest.mark.studio, pytest.mark.browser]


@contextmanager
def signed_in(server: Server, email: str, password: str) -> Iterator[Page]:
    chromium = need(BROWSER)
    with sync_playwright() as driver:
        options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = driver.chromium.launch(executable_path=chromium, args=options)
        page = browser.new_page(viewport={"width": 1200, "height": 1000})
        page.set_default_timeout(60_000)
        page.goto(f"{server.url}/user/login/")
        page.fill("input[name=email]", email)
        page.fill("input[name=password]", password)
        page.click("button[type=submit]")
        page.wait_for_load_state()
        yield page
        browser.close()


def next_picture(page: Page, before: str) -> str:
    """The address of the picture that the page shows, once it is another than `before` and takes an answer."""
    shown = (
        "before => [...document.images].map(i => i.naturalWidth ? i.src : '')"
        ".find(src => src.startsWith('blob:') && src != before)"
    )
    found = str(page.wait_for_function(shown, arg=before).json_value())
    page.get_by_text("Submit", exact=True).wait_for()
    page.wait_for_timeout(500)
    return found


def test_an_annotator_reads_labels_with_keys_sees_a_proposal_and_skips(
    desk: Workspace, concept: str, studio_server: Server
) -> None:
    draw(desk, desk.concept(concept))
    model(desk, concept, "m1", concept, 0.8)
    rules = Rules(proposals=True, people=("ann",))
    push(desk, concept, limit=6, overlap=1, campaign=Campaign(name="hints", rules=rules, no_proposal_share=0.5))
    tasks = tasks_of(desk, concept, "hints")
    other = f"not-{concept}"
    account = accounts.load(folder_of(desk))["ann"]
    proposed = next(n for n, task in enumerate(tasks) if task.prediction)
    # The key of a label that is chosen already, as a proposal is, takes the choice back: Label Studio's way.
    keys = {n: ("2", other) if task.prediction or n % 2 else ("1", concept) for n, task in enumerate(tasks)}
    keys[proposed] = ("", concept)  # Enter alone keeps the proposal
    unsure = (proposed + 1) % 6
    keys[unsure] = ("0", UNSURE)
    skipped = (proposed + 2) % 6
    with signed_in(studio_server, account.email, account.password) as page:
        page.goto(f"{studio_server.url}/projects/{tasks[0].project}/data")
        page.get_by_text("Label All Tasks").first.click()
        told = page.get_by_text("guideline, version 1")
        told.wait_for()
        next_picture(page, "")
        page.keyboard.press("Escape")
        told.wait_for(state="hidden")
        picture = ""
        for number in range(len(tasks)):
            picture = next_picture(page, picture)
            if number != skipped and keys[number][0]:
                page.keyboard.press(keys[number][0])
                page.wait_for_timeout(200)
            page.keyboard.press("Control+Space" if number == skipped else "Enter")
        page.get_by_text("No More Tasks Left").wait_for()
    pull(desk, concept)
    found = {row.task: (row.state, row.label) for row in labels.current(desk.catalog, concept)}
    wanted = {
        task.id: ("skipped", None) if n == skipped else ("unsure", None) if n == unsure else ("answered", keys[n][1])
        for n, task in enumerate(tasks)
    }
    assert found == wanted
    kept = {row.task: row.proposal_kept for row in labels.current(desk.catalog, concept)}
    assert kept[tasks[proposed].id] is True
