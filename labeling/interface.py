"""What annotators see and what comes back, in Label Studio's words: plain values, no input or output of their own.

An *item* is one picture for one annotator; Label Studio calls it a task.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import quoteattr

UNSURE = "can't tell"
# Of a task and of the annotations in it: Label Studio applies the list to both.
ANSWER_FIELDS = (
    "id,annotations,predictions,result,completed_by,updated_by,updated_at,was_cancelled,lead_time,parent_prediction"
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
    """One picture for one annotator; `image` is its sha256. Label Studio calls it a task."""

    image: str
    proposal: Proposal | None = None
    id: int | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What one person said of one picture. `state` is answered, unsure or skipped; `label` is None unless answered."""

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


def interface(labels: Sequence[str], title: str = "What is it?") -> str:
    """The labeling page as Label Studio's XML: the picture, one key for each label, 0 for can't tell, a note."""
    keys = [*(str(number) for number in range(1, 10)), *([""] * len(labels))]
    choices = [
        f"    <Choice value={quoteattr(label)}" + (f' hotkey="{key}"' if key else "") + "/>"
        for label, key in zip(labels, keys, strict=False)
    ]
    return "\n".join(
        [
            "<View>",
            f"  <Header value={quoteattr(title)}/>",
            '  <Choices name="label" toName="image" choice="single-radio" showInLine="true" required="true">',
            *choices,
            f'    <Choice value={quoteattr(UNSURE)} hotkey="0"/>',
            "  </Choices>",
            '  <Image name="image" value="$image" zoom="true" zoomControl="true" rotateControl="false"/>',
            '  <TextArea name="note" toName="image" rows="1" maxSubmissions="1" placeholder="why is this hard?"/>',
            "</View>",
        ]
    )


def image_url(image: str) -> str:
    """Where Label Studio serves the original bytes of `image`; its document root is the image store."""
    return f"/data/local-files/?d=objects/{image[:2]}/{image[2:4]}/{image}"


def choice(label: str) -> dict[str, Any]:
    """A label as a result of the page."""
    return {"from_name": "label", "to_name": "image", "type": "choices", "value": {"choices": [label]}}


def prediction(proposal: Proposal) -> dict[str, Any]:
    """A proposal as Label Studio imports it."""
    return {
        "model_version": proposal.model_version,
        "score": proposal.score,
        "result": [choice(proposal.label)],
    }


def _value(result: Sequence[dict[str, Any]], control: str) -> str | None:
    for region in result or ():
        if region.get("from_name") == control:
            words = region["value"].get("choices") or region["value"].get("text") or []
            return str(words if isinstance(words, str) else " ".join(map(str, words))) or None
    return None


def read_item(task: dict[str, Any]) -> Item:
    """A task with the newest of its proposals."""
    proposal = None
    for shown in sorted(task.get("predictions") or (), key=lambda each: int(each["id"])):
        label = _value(shown["result"], "label")
        if label is not None:
            proposal = Proposal(label, float(shown["score"] or 0), str(shown["model_version"]), int(shown["id"]))
    return Item(task["data"]["sha256"], proposal, int(task["id"]))


def read_answer(task: dict[str, Any], row: dict[str, Any]) -> Answer:
    """One annotation `row` of a task, with the proposal that it grew from."""
    label = _value(row["result"], "label")
    state = "answered"
    if row["was_cancelled"] or label is None:
        state, label = "skipped", None
    elif label == UNSURE:
        state, label = "unsure", None
    shown = [each["result"] for each in task["predictions"] if each["id"] == row["parent_prediction"]]
    return Answer(
        id=int(row["id"]),
        item=int(task["id"]),
        by=int(row["completed_by"]),
        updated_by=int(row["updated_by"] or row["completed_by"]),
        updated_at=str(row["updated_at"]),
        state=state,
        label=label,
        note=_value(row["result"], "note") or "",
        seconds=row["lead_time"],
        proposal=_value(shown[0], "label") if shown else None,
    )
