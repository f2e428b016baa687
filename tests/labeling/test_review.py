"""The agreement step on a real catalog: figures, consensus rows, gates, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import sqlalchemy as sa

from collector.catalog import consensus as consensus_rows
from collector.catalog.consensus import Settled
from collector.catalog.tables import consensus
from collector.errors import CollectError, GateNotMet, UsageError
from collector.workspace import Workspace
from labeling.review import agreement, details
from tests.labeling.saying import answer, give, know, open_round

HORSE, OTHER = "horse", "not-horse"


def _disputed_workspace(ws: Workspace) -> Workspace:
    for i in range(4):
        for name in ("ann", "ben"):
            answer(ws, f"agreed{i}", name, HORSE if i < 2 else OTHER, seconds=2.0)
    answer(ws, "tie", "ann", HORSE, note="ears?", seconds=9.0)
    answer(ws, "tie", "ben", OTHER)
    answer(ws, "lost", "ann", OTHER)
    answer(ws, "lost", "ben", HORSE)
    answer(ws, "lost", "cyd", HORSE)
    answer(ws, "dark", "ann", None)
    answer(ws, "alone", "cyd", HORSE)
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
    answer(ws, "tie", "cyd", OTHER)
    agreement(ws)
    changed = [new for old, new in zip(before, _rows(ws), strict=True) if old != new]
    assert [(row.image, row.label) for row in changed] == [("tie", OTHER)]


def test_the_latest_answer_counts_and_a_skip_in_another_task_takes_nothing_back(ws: Workspace) -> None:
    answer(ws, "one", "ann", OTHER)
    answer(ws, "one", "ben", OTHER)
    answer(ws, "one", "ann", HORSE)
    answer(ws, "one", "ben", None, state="skipped", task=give(ws, open_round(ws, "later"), "one", "ben"))
    assert details(ws).settled[0].votes == {HORSE: 1, OTHER: 1}


def test_an_image_whose_answers_were_deleted_loses_its_consensus(ws: Workspace) -> None:
    for name in ("ann", "ben"):
        answer(ws, "kept", name, HORSE)
    answer(ws, "gone", "ann", HORSE)
    agreement(ws)
    assert [row.image for row in _rows(ws)] == ["gone", "kept"]
    answer(ws, "gone", "ann", None, state="deleted", supersedes=3)
    agreement(ws)
    assert [row.image for row in _rows(ws)] == ["kept"]


def test_only_one_label_gives_no_alpha_and_says_why(ws: Workspace) -> None:
    for name in ("ann", "ben"):
        answer(ws, "one", name, HORSE)
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
    answer(ws, "one", "ann", HORSE)
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
        answer(ws, f"image{i}", "ann", HORSE, proposal=HORSE, proposal_kept=True)
    answer(ws, "image0", "ben", OTHER)
    warnings = " ".join(agreement(ws).warnings)
    assert "ann gave 90% of all labels" in warnings
    assert "9 of 10 answers were given with a proposal" in warnings


def test_the_details_rank_disputes_with_every_vote_and_name_confused_labels(ws: Workspace) -> None:
    found = details(_disputed_workspace(ws))
    assert [entry.image for entry in found.disputed] == ["tie", "lost"]
    first = found.disputed[0].votes[0]
    assert (first.annotator, first.label, first.note, first.seconds) == ("ann", HORSE, "ears?", 9.0)
    (confused,) = found.measured.confusions
    assert (confused.pairs, confused.images) == (3, ("lost", "tie"))
    assert {(pair.first, pair.second): pair.shared for pair in found.measured.pairs} == {
        ("ann", "ben"): 6,
        ("ann", "cyd"): 1,
        ("ben", "cyd"): 1,
    }
    assert _rows(ws) == []


def test_the_words_name_the_pair_the_silence_of_the_guideline_and_what_is_left(
    make_workspace: Callable[..., Workspace],
) -> None:
    ws = _disputed_workspace(make_workspace("[agreement]\nhourly_rate = 18\n"))
    answer(ws, "tie", "ann", HORSE, task=give(ws, open_round(ws, "later"), "tie", "ann"))
    summary = agreement(ws)
    told = " ".join(summary.words)
    assert "alpha is 0.429" in told
    assert "Work on `horse` against `not-horse`" in told
    assert "There is no guideline: say in `label.guideline` what tells `horse` and `not-horse` apart." in told
    assert (summary.open, summary.answers_left) == (2, 3)
    assert summary.hours == pytest.approx(3 * 2 / 3600)
    assert summary.cost == pytest.approx(0.03)
    assert "given again by the same annotator" in " ".join(summary.warnings)


def test_an_arbiter_settles_what_two_people_dispute_and_the_votes_stay_beside(ws: Workspace) -> None:
    _disputed_workspace(ws)
    before = details(ws).measured.alpha.value
    court = open_round(ws, "disputed by zoe", "disputed", ["zoe"])
    answer(ws, "zoe knows", "zoe", HORSE)
    answer(ws, "tie", "zoe", OTHER, task=give(ws, court, "tie", "zoe"))
    answer(ws, "lost", "zoe", OTHER, task=give(ws, court, "lost", "zoe"))
    answer(ws, "agreed0", "zoe", None, task=give(ws, court, "agreed0", "zoe"))
    found = {row.image: row for row in details(ws).settled}
    assert found["tie"][1:] == (OTHER, 1.0, "arbiter", {HORSE: 1, OTHER: 2})
    assert found["lost"][1:] == (OTHER, 1.0, "arbiter", {HORSE: 2, OTHER: 2})
    assert (found["agreed0"].method, found["agreed0"].label) == ("majority", HORSE)
    assert details(ws).measured.alpha.value == before
    assert (details(ws).left.ties, agreement(ws).ties) == (0, 0)


def test_one_more_annotator_at_a_time_is_one_more_vote_outside_of_agreement(ws: Workspace) -> None:
    _disputed_workspace(ws)
    before = details(ws).measured.alpha.value
    more = open_round(ws, "disputed", "disputed")
    answer(ws, "tie", "cyd", OTHER, task=give(ws, more, "tie", "ann"))
    found = {row.image: row for row in details(ws).settled}
    assert found["tie"] == Settled("tie", OTHER, 2 / 3, "majority", {HORSE: 1, OTHER: 2})
    assert details(ws).measured.alpha.value == before


def test_answers_to_sentinels_judge_the_annotator_and_nothing_else(ws: Workspace) -> None:
    _disputed_workspace(ws)
    before = details(ws)
    planted = open_round(ws, "with sentinels")
    know(ws, planted, "agreed0", HORSE)
    answer(ws, "agreed0", "cyd", OTHER, task=give(ws, planted, "agreed0", "ann"), proposal=OTHER, proposal_kept=True)
    after = details(ws)
    assert (after.measured.alpha, after.settled) == (before.measured.alpha, before.settled)
    person = agreement(ws).annotators["cyd"]
    assert (person["wrong_sentinels_given"], person["resisted"], person["answers"]) == (1, 0.0, 2)
    assert (person["sentinels_given"], person["sentinels"]) == (0, None)


def test_crowdlab_asks_the_model_it_is_given_and_refuses_without_one(make_workspace: Callable[..., Workspace]) -> None:
    ws = _disputed_workspace(make_workspace('[agreement]\nmethod = "crowdlab"\n'))
    with pytest.raises(UsageError, match="needs a model"):
        agreement(ws)
    horses = {"agreed0": 0.9, "agreed1": 0.9, "agreed2": 0.1, "agreed3": 0.1, "lost": 0.9, "tie": 0.9, "alone": 0.9}
    agreement(ws, model=lambda *_: {image: {HORSE: p, OTHER: 1 - p} for image, p in horses.items()})
    rows = {row.image: row for row in consensus_rows.settled(ws.catalog, "horse")}
    assert (rows["tie"].label, rows["tie"].method) == (HORSE, "crowdlab")


def test_dawid_skene_can_be_chosen(make_workspace: Callable[..., Workspace]) -> None:
    ws = _disputed_workspace(make_workspace('[agreement]\nmethod = "dawid-skene"\n'))
    agreement(ws)
    assert {row.method for row in _rows(ws)} == {"dawid-skene"}


def _rows(ws: Workspace) -> list[sa.Row[tuple[object, ...]]]:
    with ws.catalog.read() as connection:
        return list(connection.execute(sa.select(consensus).order_by(consensus.c.image)))
