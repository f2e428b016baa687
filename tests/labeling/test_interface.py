from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.errors import UsageError
from labeling import template
from labeling.interface import (
    KEYS,
    UNSURE,
    Item,
    choice,
    in_order,
    instruction,
    interface,
    read_answer,
    task_data,
)

LABELS = ("horse", 'not-"horse" & <b>')
OWN = (
    '<View style="display: flex"><Image name="image" value="$image" zoom="true"/>'
    '<Choices name="label" toName="image" choice="single"><Choice value="horse" hotkey="q"/><Choice value="none"/>'
    '<Choice value="can\'t tell" hint="too dark"/></Choices><TextArea name="note" toName="image"/></View>'
)
PAIR = ("horse", "none")


def given_answer(*labels: str) -> dict[str, object]:
    row = {"id": 1, "completed_by": 2, "updated_by": None, "updated_at": "now", "was_cancelled": False}
    return row | {"lead_time": 1.0, "parent_prediction": None, "result": [choice("|".join(labels), several=True)]}


def test_digits_come_first_then_letters_and_no_key_is_given_twice() -> None:
    page = interface([f"l{n}" for n in range(40)])
    keys = [each.get("hotkey") for each in ElementTree.fromstring(page).iter("Choice")]
    assert keys[:11] == [*"123456789", "a", "b"]
    assert keys[-1] == "0"
    used = [key for key in keys if key]
    assert len(set(used)) == len(used) == len(KEYS) + 1


@given(st.text())
def test_no_guideline_becomes_a_tag_of_its_own(text: str) -> None:
    shown = instruction(text, 3)
    for tag in ("p", "b", "i", "code"):
        shown = shown.replace(f"<{tag}>", "").replace(f"</{tag}>", "")
    assert "<" not in shown.replace("<br>", "")
    assert "guideline, version 3" in shown


def test_a_guideline_may_hold_paragraphs_lists_and_stress() -> None:
    shown = instruction("Say **what** it *is*.\n\n- `horse`: a <b>horse</b>\n- none", 1)
    assert "<p>Say <b>what</b> it <i>is</i>.</p>" in shown
    assert "\N{BULLET} <code>horse</code>: a &lt;b&gt;horse&lt;/b&gt;<br>\N{BULLET} none" in shown


def test_several_labels_come_back_in_one_order_and_cannot_tell_goes_alone() -> None:
    task = {"id": 1, "predictions": []}
    assert in_order(read_answer(task, given_answer("b", "a")).label or "", ("a", "b", "c")) == "a|b"
    unsure = read_answer(task, given_answer("a", UNSURE))
    assert (unsure.state, unsure.label) == ("unsure", None)


def test_an_answer_of_a_user_who_was_deleted_is_read() -> None:
    assert read_answer({"id": 1, "predictions": []}, given_answer("a") | {"completed_by": None}).by == 0


def test_a_large_picture_is_shown_small_with_a_link() -> None:
    data = task_data(Item("ab" * 32, kind=".png"))
    assert data["image"].endswith(f"d=shown/ab/ab/{'ab' * 32}.preview.jpg")
    assert f"shown/ab/ab/{'ab' * 32}.png" in data["original"]
    assert "href" not in task_data(Item("ab" * 32))["original"]


def test_our_own_page_passes_our_own_check() -> None:
    for several in (False, True):
        page = interface(LABELS, several=several)
        assert template.check(page, LABELS, several=several) == page
        assert template.choices(page) == (*LABELS, UNSURE)


def test_a_page_of_ones_own_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "page.xml").write_text(OWN, encoding="utf-8")
    assert template.read(tmp_path / "page.xml", PAIR) == OWN


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("</View>", "", "well-formed"),
        ("<View ", "<!DOCTYPE v [<!ENTITY a 'b'>]><View ", "DTD"),
        ("<View ", "<?php x ?><View ", "processing instruction"),
        ("</View>", "<HyperText name='h' value='&lt;script&gt;'/></View>", "HyperText"),
        ("</View>", "<Style>.a { background: url(http://x.org/a.png) }</Style></View>", "Style"),
        ("</View>", "<Video name='v' value='$image'/></View>", "Video"),
        ("</View>", "<Text name='v' value='$image'/></View>", "Text"),
        ('value="$image"', 'value="https://example.org/a.jpg"', "picture"),
        ('value="$image"', 'value="$image" valueList="$x"', "valueList"),
        ("display: flex", "background: url(/a.png)", "fetch"),
        ("display: flex", "background: u\\72l(/a.png)", "fetch"),
        ("display: flex", "background: /**/url /**/ (//a.org/b)", "fetch"),
        ('<Choice value="none"/>', "", "must offer"),
        ('<Choice value="none"/>', '<Choice value="none"/><Choice value="zebra"/>', "must offer"),
        ('value="none"', 'value="none" alias="horse"', "alias"),
        ('value="none"', 'value="none" html="&lt;img src=x onerror=alert(1)&gt;"', "html"),
        ('value="none"', 'value="none" onclick="alert(1)"', "onclick"),
        ('name="label"', 'name="other"', "Choices"),
        ('toName="image" choice', 'toName="note" choice', "Choices"),
        ('choice="single"', 'choice="multiple"', "choice"),
        ("<TextArea", "<Header value='$original'/><TextArea", None),
        ("<TextArea", "<Header value='&lt;b&gt;'/><TextArea", "plain text"),
        ("<TextArea", "<Choices name='x' toName='image' value='$other' /><TextArea", "value"),
        ("<TextArea", "hello<TextArea", "text beside"),
    ],
)
def test_a_page_that_could_fetch_run_or_ask_something_else_is_refused(old: str, new: str, said: str | None) -> None:
    changed = OWN.replace(old, new, 1)
    assert changed != OWN
    if said is None:
        template.check(changed, PAIR)
        return
    with pytest.raises(UsageError, match=said):
        template.check(changed, PAIR)


def test_a_page_that_cannot_be_read_is_said_clearly(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        template.read(tmp_path / "none.xml", PAIR)
    (tmp_path / "binary.xml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="cannot be read"):
        template.read(tmp_path / "binary.xml", PAIR)
    (tmp_path / "huge.xml").write_text("<View/>" * 20_000)
    with pytest.raises(UsageError, match="more than"):
        template.read(tmp_path / "huge.xml", PAIR)
