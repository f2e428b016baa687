"""What annotators see and what comes back, in Label Studio's words: plain values, no input or output of their own.

An *item* is one picture for one annotator; Label Studio calls it a task.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import quoteattr

from collector.records import JOINT as JOINT
from collector.records import UNSURE as UNSURE

KEYS = "123456789abcdefgijklnopqrstwxyz"  # 0 is "can't tell"; Label Studio's page keeps h, m, u and v for itself
SUFFIXES = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "GIF": ".gif", "AVIF": ".avif"}
# Of a task and of the annotations in it: Label Studio applies the list to both.
ANSWER_FIELDS = (
    "id,data,annotations,predictions,result,completed_by,updated_by,updated_at,was_cancelled,lead_time,"
    "parent_prediction"
)


@dataclass(frozen=True, slots=True)
class Proposal:
    """A model's guess that an annotator sees: `score` is the probability of `label`."""

    label: str
    score: float
    model_version: str
    id: int | None = None


@dataclass(frozen=True, slots=True)
class Item:
    """One picture for one annotator; `image` is its sha256. Label Studio calls it a task.

    `kind` is the suffix of the original (.jpg) where the page shows a preview and links to it; empty: the page shows
    the original.
    """

    image: str
    proposal: Proposal | None = None
    id: int | None = None
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Project:
    """One of Label Studio's projects: its page (XML), the guideline it shows (HTML), and how many tasks it holds."""

    page: str
    instruction: str
    overlap: int
    tasks: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What one person said of one picture. `state` is answered, unsure or skipped; `label` is None unless answered.

    Where several labels may be given, `label` is all that were, joined by `JOINT` in the order in which they came.
    """

    id: int
    item: int
    by: int
    updated_by: int
    updated_at: str
    state: str
    label: str | None
    note: str
    seconds: float | None
    proposal: str | None


def interface(labels: Sequence[str], title: str = "What is it?", *, several: bool = False) -> str:
    """The labeling page as Label Studio's XML: the picture, a key for each label, 0 for can't tell, a note."""
    keys = [*KEYS, *([""] * len(labels))]
    choices = [
        f"    <Choice value={quoteattr(label)}" + (f' hotkey="{key}"' if key else "") + "/>"
        for label, key in zip(labels, keys, strict=False)
    ]
    kind = "multiple" if several else "single-radio"
    return "\n".join(
        [
            "<View>",
            f"  <Header value={quoteattr(title)}/>",
            f'  <Choices name="label" toName="image" choice="{kind}" showInLine="true" required="true">',
            *choices,
            f'    <Choice value={quoteattr(UNSURE)} hotkey="0"/>',
            "  </Choices>",
            '  <Image name="image" value="$image" zoom="true" zoomControl="true" rotateControl="false"/>',
            '  <TextArea name="note" toName="image" rows="1" maxSubmissions="1" placeholder="why is this hard?"/>',
            '  <HyperText name="original" value="$original" clickableLinks="true"/>',
            "</View>",
        ]
    )


def instruction(text: str, version: int) -> str:
    """A guideline as the HTML of the dialog that opens before the first picture.

    The text is escaped as a whole; then blank lines part paragraphs, lines that begin with "- " are a list, and
    **bold**, *italic* and `code` are shown as such. The last lines name the keys and the version.
    """
    found = []
    for paragraph in re.split(r"\n\s*\n", html.escape(text.strip(), quote=False)):
        lines = [re.sub(r"^\s*[-*] ", "\N{BULLET} ", line) for line in paragraph.splitlines()]
        found.append(f"<p>{'<br>'.join(lines)}</p>")
    shown = "\n".join(found)
    for mark, tag in ((r"\*\*", "b"), (r"\*", "i"), ("`", "code")):
        shown = re.sub(rf"{mark}(\S(?:[^\n]*?\S)?){mark}", rf"<{tag}>\1</{tag}>", shown)
    keys = "Keys: that of a label, then Enter, which brings the next picture; Ctrl+Space skips."
    return f"{shown}\n<p>{keys}</p>\n<p><i>{version_line(version)}</i></p>"


def version_line(version: int) -> str:
    """How the page names the version of a guideline."""
    return f"guideline, version {version}"


def object_path(image: str) -> str:
    """Where the original bytes of `image` lie below the image store, which is Label Studio's document root."""
    return f"objects/{image[:2]}/{image[2:4]}/{image}"


def shown_path(image: str, suffix: str) -> str:
    """Where a file that only the page needs lies: a preview, or the original under a name that browsers understand."""
    return f"shown/{image[:2]}/{image[2:4]}/{image}{suffix}"


def image_url(image: str) -> str:
    """Where Label Studio serves the original bytes of `image`."""
    return f"/data/local-files/?d={object_path(image)}"


def task_data(item: Item) -> dict[str, str]:
    """An item as the data of a task."""
    shown, original = image_url(item.image), "The picture is the original."
    if item.kind:
        shown = f"/data/local-files/?d={shown_path(item.image, '.preview.jpg')}"
        link = f"/data/local-files/?d={shown_path(item.image, item.kind)}"
        original = f'A smaller copy. <a href="{link}" target="_blank" rel="noopener">Open the original</a>'
    return {"image": shown, "sha256": item.image, "original": original}


def choice(label: str, *, several: bool = False) -> dict[str, Any]:
    """A label, or with `several` all the labels joined in it, as a result of the page."""
    chosen = label.split(JOINT) if several else [label]
    return {"from_name": "label", "to_name": "image", "type": "choices", "value": {"choices": chosen}}


def prediction(proposal: Proposal) -> dict[str, Any]:
    """A proposal as Label Studio imports it."""
    return {
        "model_version": proposal.model_version,
        "score": proposal.score,
        "result": [choice(proposal.label)],
    }


def in_order(label: str, labels: Sequence[str]) -> str:
    """An answer of several labels, joined in the order of `labels`; what is not among them follows as it was."""
    rank = {name: number for number, name in enumerate(labels)}
    return JOINT.join(sorted(label.split(JOINT), key=lambda name: rank.get(name, len(rank))))


def _values(result: Sequence[dict[str, Any]], control: str) -> list[str]:
    for region in result or ():
        if region.get("from_name") == control:
            words = region["value"].get("choices") or region["value"].get("text") or []
            return [words] if isinstance(words, str) else [str(word) for word in words]
    return []


def _label(result: Sequence[dict[str, Any]]) -> str | None:
    """The label that was chosen; `UNSURE` goes alone: who cannot tell has said nothing of the other labels."""
    others = (each.get("from_name", "") for each in result or () if each.get("type") == "choices")
    chosen = _values(result, "label") or _values(result, next(others, "label"))  # who renamed it by hand lost no answer
    return UNSURE if UNSURE in chosen else JOINT.join(chosen) or None


def read_item(task: dict[str, Any]) -> Item:
    """A task with the newest of its proposals."""
    proposal = None
    for shown in sorted(task.get("predictions") or (), key=lambda each: int(each["id"])):
        label = _label(shown["result"])
        if label is not None:
            proposal = Proposal(label, float(shown["score"] or 0), str(shown["model_version"]), int(shown["id"]))
    return Item(str(task["data"].get("sha256", "")), proposal, int(task["id"]))  # none: somebody made it by hand


def read_answer(task: dict[str, Any], row: dict[str, Any]) -> Answer:
    """One annotation `row` of a task, with the proposal that it grew from."""
    label = _label(row["result"])
    state = "answered"
    if row["was_cancelled"] or label is None:
        state, label = "skipped", None
    elif label == UNSURE:
        state, label = "unsure", None
    shown = [each["result"] for each in task["predictions"] if each["id"] == row["parent_prediction"]]
    return Answer(
        id=int(row["id"]),
        item=int(task["id"]),
        by=int(row["completed_by"] or 0),  # null: the user was deleted there
        updated_by=int(row["updated_by"] or row["completed_by"] or 0),
        updated_at=str(row["updated_at"]),
        state=state,
        label=label,
        note=" ".join(_values(row["result"], "note")),
        seconds=row["lead_time"],
        proposal=_label(shown[0]) if shown else None,
    )
