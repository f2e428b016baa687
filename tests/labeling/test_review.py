"""The agreement step on a real catalog: figures, consensus rows, gates, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import sqlalchemy as sa

from collector.catalog import consensus as consensus_rows
from collector.catalog.database import now
from collector.catalog.tables import annotation, annotator, consensus, image, round_, task
from collector.errors import CollectError, GateNotMet
from collector.workspace import Workspace
from labeling.review import agreement, details

HORSE, OTHER = "horse", "not-horse"


def _answer(ws: Workspace, picture: str, name: str, label: str | None, **more: object) -> None:
    """One annotation row, as `label pull` writes it."""
    ws.concept("horse", create=True)
    with ws.catalog.write() as connection:
        if not connection.execute(sa.select(annotator).where(annotator.c.name == name)).first():
            connection.execute(sa.insert(annotator).values(name=name, email=f"{name}@example.org", added_at=now()))
        if not connection.execute(sa.select(image).where(image.c.id == picture)).first():
            pixels = {"bytes": 1, "width": 9, "height": 9, "format": "PNG", "mode": "RGB", "frames": 1}
            connection.execute(sa.insert(image).values(id=picture, orientation=1, added_at=now(), **pixels))
        count = connection.execute(sa.select(sa.func.count()).select_from(annotation)).scalar()
        values = {
            "concept": "horse", "image": picture, "annotator": name, "label": label, "note": "", "content": f"{count}",
            "state": "answered" if label else "unsure", "seen_at": now(),
        }  # fmt: skip
        connection.execute(sa.insert(annotation).values(values | more))


def _disputed_workspace(ws: Workspace) -> Workspace:
    for i in range(4):
        for name in ("ann", "ben"):
            _answer(ws, f"agreed{i}", name, HORSE if i < 2 else OTHER, seconds=2.0)
    _answer(ws, "tie", "ann", HORSE, note="ears?", seconds=9.0)
    _answer(ws, "tie", "ben", OTHER)
    _answer(ws, "lost", "ann", OTHER)
    _answer(ws, "lost", "ben", HORSE)
    _answer(ws, "lost", "cyd", HORSE)
    _answer(ws, "dark", "ann", None)
    _answer(ws, "alone", "cyd", HORSE)
    return ws


def test_agreement_counts_what_two_people_labeled_and_settles_every_image(ws: Workspace) -> None:
    summary = agreement(_disputed_workspace(ws))
    assert (summary.tasks, summary.disputed, summary.ties) == (6, 2, 1)
    assert summary.unanimous == pytest.approx(4 / 6)
    assert summary.pairwise == pytest.approx((4 + 0 + 1 / 3) / 6)
    # By hand: D = 2/1 + 4/2, n = 13 with 7 horses: alpha = 1 - 12 * 4 / (13^2 - 7^2 - 6^2).
    assert summary.alpha == pytest.approx(1 - 48 / 84)
    assert summary.annotators["ann"]["unsure"] == pytest.approx(1 / 7)
    assert any("6 images were labeled twice" in warning for warning in summary.warnings)
    rows = {row.image: row for row in consensus_rows.settled(ws.catalog, "horse")}
    assert len(rows) == 8
    assert summary.settled == 6
    assert (rows["tie"].label, rows["tie"].votes) == (None, {HORSE: 1, OTHER: 1})
    assert rows["lost"].label == HORSE
    assert rows["lost"].confidence == pytest.approx(2 / 3)
    assert (rows["dark"].label, rows["dark"].votes) == (None, {})


def test_the_figures_are_plain_json_without_nan(ws: Workspace) -> None:
    json.dumps(agreement(_disputed_workspace(ws)).as_json(), allow_nan=False)


def test_repeating_the_step_changes_no_row_and_a_new_answer_changes_one(ws: Workspace) -> None:
    agreement(_disputed_workspace(ws))
    before = _rows(ws)
    agreement(ws)
    assert _rows(ws) == before
    _answer(ws, "tie", "cyd", OTHER)
    agreement(ws)
    changed = [new for old, new in zip(before, _rows(ws), strict=True) if old != new]
    assert [(row.image, row.label) for row in changed] == [("tie", OTHER)]


def _second_task(ws: Workspace, picture: str, name: str) -> int:
    """A task of another round for somebody who has seen the picture before."""
    frozen = {"labels": [HORSE, OTHER], "guideline": "", "guideline_hash": "", "projects": {}, "opened_at": now()}
    kind = {"concept": "horse", "name": "later", "purpose": "pool", "overlap": 1, "blind": True, "proposals": False}
    with ws.catalog.write() as connection:
        connection.execute(sa.insert(round_).values(id=9, **kind, **frozen))
        place = {"round": 9, "image": picture, "annotator": name, "project": 1, "studio_task": 1, "pushed_at": now()}
        connection.execute(sa.insert(task).values(id=9, **place))
    return 9


def test_the_latest_answer_counts_and_a_skip_in_another_task_takes_nothing_back(ws: Workspace) -> None:
    _answer(ws, "one", "ann", OTHER)
    _answer(ws, "one", "ben", OTHER)
    _answer(ws, "one", "ann", HORSE)
    _answer(ws, "one", "ben", None, state="skipped", task=_second_task(ws, "one", "ben"))
    assert details(ws).settled[0].votes == {HORSE: 1, OTHER: 1}


def test_an_image_whose_answers_were_deleted_loses_its_consensus(ws: Workspace) -> None:
    for name in ("ann", "ben"):
        _answer(ws, "kept", name, HORSE)
    _answer(ws, "gone", "ann", HORSE)
    agreement(ws)
    assert [row.image for row in _rows(ws)] == ["gone", "kept"]
    _answer(ws, "gone", "ann", None, state="deleted", supersedes=3)
    agreement(ws)
    assert [row.image for row in _rows(ws)] == ["kept"]


def test_only_one_label_gives_no_alpha_and_says_why(ws: Workspace) -> None:
    for name in ("ann", "ben"):
        _answer(ws, "one", name, HORSE)
    summary = agreement(ws)
    assert summary.alpha is None
    assert any("only one label" in warning for warning in summary.warnings)
    with pytest.raises(GateNotMet, match="undefined"):
        agreement(ws, fail_under=0.1)


def test_a_gate_that_is_not_met_fails_after_the_consensus_was_written(ws: Workspace) -> None:
    with pytest.raises(GateNotMet, match=r"alpha is 0\.429 .* below 0\.8") as caught:
        agreement(_disputed_workspace(ws), "horse", fail_under=0.8)
    assert caught.value.exit_code == 4
    assert len(_rows(ws)) == 8
    assert agreement(ws, "horse", fail_under=0.4).alpha is not None


def test_single_labels_are_settled_but_give_no_agreement(ws: Workspace) -> None:
    _answer(ws, "one", "ann", HORSE)
    with pytest.raises(CollectError, match="labeled by two annotators") as caught:
        agreement(ws)
    assert "overlap" in caught.value.hint
    assert [row.label for row in _rows(ws)] == [HORSE]


def test_no_answers_at_all_point_to_label_pull(ws: Workspace) -> None:
    ws.concept("horse", create=True)
    with pytest.raises(CollectError, match="nobody has answered") as caught:
        agreement(ws)
    assert "collect label pull horse" in caught.value.hint


def test_proposals_and_a_dominant_annotator_are_pointed_out(ws: Workspace) -> None:
    for i in range(9):
        _answer(ws, f"image{i}", "ann", HORSE, proposal=HORSE, proposal_kept=True)
    _answer(ws, "image0", "ben", OTHER)
    warnings = " ".join(agreement(ws).warnings)
    assert "ann gave 90% of all labels" in warnings
    assert "9 of 10 answers were given with a proposal" in warnings


def test_the_details_rank_disputes_with_every_vote_and_name_confused_labels(ws: Workspace) -> None:
    found = details(_disputed_workspace(ws))
    assert [entry.image for entry in found.disputed] == ["tie", "lost"]
    first = found.disputed[0].votes[0]
    assert (first.annotator, first.label, first.note, first.seconds) == ("ann", HORSE, "ears?", 9.0)
    (confused,) = found.confusions
    assert (confused.pairs, confused.images) == (3, ("lost", "tie"))
    assert {(pair.first, pair.second): pair.shared for pair in found.pairs} == {
        ("ann", "ben"): 6,
        ("ann", "cyd"): 1,
        ("ben", "cyd"): 1,
    }
    assert _rows(ws) == []


def test_dawid_skene_can_be_chosen(make_workspace: Callable[..., Workspace]) -> None:
    ws = _disputed_workspace(make_workspace('[agreement]\nmethod = "dawid-skene"\n'))
    agreement(ws)
    assert {row.method for row in _rows(ws)} == {"dawid-skene"}


def _rows(ws: Workspace) -> list[sa.Row[tuple[object, ...]]]:
    with ws.catalog.read() as connection:
        return list(connection.execute(sa.select(consensus).order_by(consensus.c.image)))
