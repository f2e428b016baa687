from __future__ import annotations

import hashlib
import io
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from playwright.sync_api import sync_playwright

from collector.errors import CollectError, ServiceDown
from labeling.accounts import Account
from labeling.interface import UNSURE, Item, Proposal, interface
from labeling.server import Server
from labeling.studio import Studio
from pipelines.machine import BROWSER
from tests.conftest import need

LABELS = ("horse", 'not-"horse" & <b>')


@pytest.fixture
def studio(studio_server: Server) -> Iterator[Studio]:
    with studio_server.connect() as connected:
        yield connected


@pytest.fixture
def annotator(studio: Studio) -> Iterator[tuple[Studio, Account]]:
    account = Account.new(f"ann {uuid.uuid4().hex[:6]}")
    with Studio(studio.url, studio.add_annotator(account)) as person:
        yield person, account


@pytest.fixture
def project(studio: Studio) -> int:
    return studio.create_project(uuid.uuid4().hex, interface(LABELS), "Say <b>what</b> it is.", proposals=True)


@pytest.fixture
def put(studio_data: Path) -> Callable[[Image.Image, str], str]:
    def write(picture: Image.Image, kind: str) -> str:
        buffer = io.BytesIO()
        picture.save(buffer, kind)
        image = hashlib.sha256(buffer.getvalue()).hexdigest()
        path = studio_data / "store" / "objects" / image[:2] / image[2:4] / image
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(buffer.getvalue())
        return image

    return write


def fake(number: int) -> str:
    return f"{number:064x}"


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1), min_size=2))
def test_any_label_survives_the_page_and_the_first_thirty_have_a_key(labels: list[str]) -> None:
    choices = ElementTree.fromstring(interface(labels)).findall(".//Choice")
    assert [choice.get("value") for choice in choices] == [*labels, UNSURE]
    keys = [choice.get("hotkey") for choice in choices]
    assert keys[:9] == ["1", "2", "3", "4", "5", "6", "7", "8", "9"][: len(labels)] + keys[len(labels) : 9]
    given = [key for key in keys if key is not None]
    assert len(set(given)) == len(given) == min(30, len(labels)) + 1
    assert keys[-1] == "0"


@pytest.mark.studio
def test_answers_come_back_as_they_were_given(studio: Studio, annotator: tuple[Studio, Account], project: int) -> None:
    person, account = annotator
    studio.import_items(project, [Item(fake(1), Proposal("horse", 0.7, "m1")), *(Item(fake(n)) for n in (2, 3, 4))])
    given_: list[str | None] = [LABELS[1], "horse", UNSURE, None]
    for label in given_:
        item = person.next_item(project)
        assert item is not None
        person.submit(project, item, label, seconds=2.5, skip=label is None)
        person.submit(project, item, "horse", seconds=9, skip=False)  # a repeat: nothing happens
    assert person.next_item(project) is None
    answers = studio.answers(project)
    assert [(a.state, a.label) for a in answers] == [
        ("answered", LABELS[1]), ("answered", "horse"), ("unsure", None), ("skipped", None),
    ]  # fmt: skip
    assert [a.proposal for a in answers] == ["horse", None, None, None]
    assert {a.seconds for a in answers} == {2.5}
    assert {studio.users()[a.by] for a in answers} == {account.email}


@pytest.mark.studio
def test_an_edit_and_a_withdrawal_are_seen(studio: Studio, annotator: tuple[Studio, Account], project: int) -> None:
    person, _ = annotator
    studio.import_items(project, [Item(fake(n)) for n in range(2)])
    for item in studio.items(project).values():
        person.submit(project, item, "horse", seconds=1)
    first, second = studio.answers(project)
    studio.change(first.id, LABELS[1])
    studio.withdraw(second.id)
    (left,) = studio.answers(project)
    assert left.label == LABELS[1]
    assert left.updated_at > first.updated_at
    assert left.by != left.updated_by


@pytest.mark.studio
def test_a_big_import_keeps_its_order_and_is_read_back_whole(studio: Studio, project: int) -> None:
    images = [fake(number) for number in range(1200)]
    studio.import_items(project, [Item(image) for image in images])
    items = studio.items(project)
    assert list(items) == images
    assert len({item.id for item in items.values()}) == len(images)


@pytest.mark.studio
def test_a_newer_proposal_replaces_the_older_one(studio: Studio, project: int) -> None:
    studio.import_items(project, [Item(fake(1), Proposal("horse", 0.7, "m1"))])
    item = studio.items(project)[fake(1)]
    assert item.proposal is not None
    assert item.id is not None
    newer = Proposal(LABELS[1], 0.9, "m2")
    studio.import_proposals(project, [(item.id, newer)])
    studio.show_version(project, "m2")
    shown = studio.next_item(project)
    assert shown is not None
    assert shown.proposal is not None
    assert replace(shown.proposal, id=None) == newer


@pytest.mark.studio
def test_a_proposal_that_the_page_cannot_show_is_refused(studio: Studio, project: int) -> None:
    with pytest.raises(CollectError, match="zebra"):
        studio.import_items(project, [Item(fake(1), Proposal("zebra", 0.7, "m1"))])


@pytest.mark.studio
def test_an_annotator_is_made_once_and_the_invite_link_is_withdrawn(studio: Studio, studio_server: Server) -> None:
    account = Account.new(f"bob {uuid.uuid4().hex[:6]}")
    token = studio.add_annotator(account)
    assert studio.add_annotator(account) == token
    assert list(studio.users().values()).count(account.email) == 1
    log = (studio_server.folder / "label-studio.log").read_text()
    links = {line.split("/user/signup/?token=")[1].split()[0] for line in log.splitlines() if "signup/?token=" in line}
    late = Account.new("late")
    assert token not in log
    for link in links:
        assert _sign_up(studio.url, link, late) == 403
    with pytest.raises(CollectError, match="not-an-address"):
        studio.add_annotator(replace(late, email="not-an-address"))


def _sign_up(url: str, link: str, account: Account) -> int:
    with httpx.Client(base_url=url) as visitor:
        visitor.get("/user/login/")
        form = {
            "email": account.email,
            "password": account.password,
            "csrfmiddlewaretoken": visitor.cookies["csrftoken"],
        }
        return visitor.post(f"/user/signup/?token={link}", data=form, headers={"Referer": url}).status_code


@pytest.mark.studio
def test_a_wrong_token_is_said_clearly(studio_server: Server) -> None:
    with Studio(studio_server.url, "0" * 40) as stranger, pytest.raises(CollectError, match="token") as caught:
        stranger.check()
    assert "label start" in caught.value.hint


def test_a_server_that_is_down_is_said_clearly() -> None:
    with Studio("http://127.0.0.1:9", "0" * 40) as studio, pytest.raises(ServiceDown) as caught:
        studio.check()
    assert "collect label start" in caught.value.hint


@pytest.mark.studio
@pytest.mark.browser
def test_the_page_shows_every_format_and_its_keys_answer(
    studio: Studio, annotator: tuple[Studio, Account], put: Callable[[Image.Image, str], str], studio_data: Path
) -> None:
    chromium = need(BROWSER)
    _, account = annotator
    project = studio.create_project(uuid.uuid4().hex, interface(LABELS), "", proposals=True)
    studio.serve_images(project, str(studio_data / "store" / "objects"))
    kinds = ("JPEG", "PNG", "WEBP", "GIF", "AVIF")
    images = [put(Image.new("RGB", (400 + 10 * n, 300), (50 * n, 90, 160)), kind) for n, kind in enumerate(kinds)]
    studio.import_items(project, [Item(image, Proposal("horse", 0.8, "m1")) for image in images])
    abroad: list[str] = []
    with sync_playwright() as driver:
        options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = driver.chromium.launch(executable_path=chromium, args=options)
        page = browser.new_page(viewport={"width": 1200, "height": 900})
        page.on("request", lambda r: None if r.url.startswith((studio.url, "blob:", "data:")) else abroad.append(r.url))
        page.goto(f"{studio.url}/user/login/")
        page.fill("input[name=email]", account.email)
        page.fill("input[name=password]", account.password)
        page.click("button[type=submit]")
        page.wait_for_load_state()
        page.goto(f"{studio.url}/projects/{project}/data?labeling=1")
        for number in range(len(kinds)):
            shown = (
                f"[...document.images].some(i => i.src.startsWith('blob:') && i.naturalWidth == {400 + 10 * number})"
            )
            page.wait_for_function(shown, timeout=30_000)
            if number == 0:
                page.screenshot(path=studio_data / "page.png")
                page.keyboard.press("2")
            page.wait_for_timeout(300)
            page.keyboard.press("Control+Enter")
            page.wait_for_timeout(500)
        browser.close()
    assert abroad == []
    answers = studio.answers(project)
    assert [answer.label for answer in answers] == [LABELS[1], *["horse"] * 4]
    assert {answer.proposal for answer in answers} == {"horse"}
    assert all(answer.seconds for answer in answers)
