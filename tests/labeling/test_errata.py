"""The register of wrong labels: opened, confirmed, dismissed, and never applied by itself."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from collector.catalog import errata as book
from collector.catalog.errata import Found
from collector.catalog.tables import erratum
from collector.errors import UsageError
from collector.workspace import Workspace
from labeling.errata import dismiss, doubted, listed, open_erratum, state_of
from labeling.review import agreement
from tests.labeling.saying import answer, give, know, open_round

HORSE, OTHER = "horse", "not-horse"
IMAGE, SECOND = "a" * 64, "b" * 64


@pytest.fixture
def settled(ws: Workspace) -> Workspace:
    for name in ("ann", "ben"):
        answer(ws, IMAGE, name, HORSE)
        answer(ws, SECOND, name, OTHER)
    agreement(ws)
    return ws


def _by_model(ws: Workspace, label: str = OTHER) -> int:
    evidence = {"kind": "model", "votes": {}}
    (number,) = book.open_(ws.catalog, "horse", [Found(IMAGE, HORSE, label, "train", "doubted", "run 1", evidence)])
    return number


def _states(ws: Workspace) -> list[str]:
    return [state for _, state in state_of(ws, "horse")]


def test_a_person_opens_an_erratum_and_it_waits_to_be_applied(settled: Workspace) -> None:
    found = open_erratum(settled, IMAGE[:12], should_be=OTHER, why="a <script>cow</script>", by="zoe")
    (row,) = found.errata.values()
    assert (row["image"], row["was"], row["should_be"], row["state"]) == (IMAGE, HORSE, OTHER, "confirmed")
    assert row["evidence"]["votes"] == {HORSE: 2}
    assert found.states == {"open": 0, "confirmed": 1, "applied": 0, "dismissed": 0}
    assert "apply --all-confirmed" in found.next
    assert listed(settled, state="open").errata == {}


@pytest.mark.parametrize(
    ("image", "label", "why", "said"),
    [
        ("c" * 12, OTHER, "x", "is no image of"),
        (IMAGE[:3], OTHER, "x", "too short"),
        (IMAGE, "hors", "x", "did you mean `horse`"),
        (IMAGE, HORSE, "x", "already"),
        (IMAGE, OTHER, " ", "needs a reason"),
        ("", OTHER, "x", "too short"),
    ],
)
def test_what_cannot_be_opened_is_told_in_a_sentence(
    settled: Workspace, image: str, label: str, why: str, said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        open_erratum(settled, image, should_be=label, why=why)
    assert _states(settled) == []


def test_the_same_erratum_is_not_opened_twice_but_a_dismissed_one_can_be_opened_again(settled: Workspace) -> None:
    open_erratum(settled, IMAGE, should_be=OTHER, why="a cow")
    with pytest.raises(UsageError, match="erratum 1 says so already"):
        open_erratum(settled, IMAGE, should_be=OTHER, why="a cow again")
    dismiss(settled, [1], why="a horse after all")
    assert _states(settled) == ["dismissed"]
    with pytest.raises(UsageError, match="dismissed before: a horse after all"):
        dismiss(settled, [1], why="again")
    assert open_erratum(settled, IMAGE, should_be=OTHER, why="no, a cow").errata["1"]["state"] == "confirmed"
    with pytest.raises(UsageError, match="no erratum 7"):
        dismiss(settled, [7], why="x")


def test_what_a_model_doubts_is_confirmed_by_people_who_answer_afterwards(settled: Workspace) -> None:
    _by_model(settled)
    assert _states(settled) == ["open"]
    answer(settled, IMAGE, "cyd", OTHER, seen_at="2999-01-01")
    assert _states(settled) == ["confirmed"]
    answer(settled, IMAGE, "dan", HORSE, seen_at="2999-01-02")
    assert _states(settled) == ["open"]


def test_one_more_person_is_asked_about_what_a_model_doubts_and_only_one(settled: Workspace) -> None:
    open_erratum(settled, SECOND, should_be=HORSE, why="a mane")
    dismiss(settled, [1], why="a bush")
    _by_model(settled)
    assert doubted(settled, "horse") == {IMAGE: {"ann", "ben"}}
    answer(settled, IMAGE, "cyd", HORSE, seen_at="2999-01-01")
    assert doubted(settled, "horse") == {}
    assert _states(settled) == ["dismissed", "open"]


def test_what_people_dismissed_is_not_queued_by_a_model_again(settled: Workspace) -> None:
    dismiss(settled, [_by_model(settled)], why="looked at: a horse")
    again = Found(IMAGE, HORSE, OTHER, "train", "doubted", "run 2", {"kind": "model"})
    assert book.open_(settled.catalog, "horse", [again]) == []
    assert _states(settled) == ["dismissed"]


def test_a_consensus_that_contradicts_a_known_answer_opens_an_erratum_and_changes_nothing(settled: Workspace) -> None:
    planted = open_round(settled, "with sentinels")
    know(settled, planted, IMAGE, OTHER)
    know(settled, planted, SECOND, OTHER)
    answer(settled, IMAGE, "cyd", HORSE, task=_task(settled, planted))
    summary = agreement(settled)
    assert summary.errata == 1
    assert any("contradict known answers" in told for told in summary.warnings)
    ((row, state),) = state_of(settled, "horse")
    assert (row.image, row.was, row.should_be, row.opened_by, state) == (IMAGE, HORSE, OTHER, "sentinels", "open")
    assert agreement(settled).errata == 1


def _task(ws: Workspace, round_id: int) -> int:
    return give(ws, round_id, IMAGE, "ann")


def test_rows_of_the_register_cannot_be_edited(settled: Workspace) -> None:
    _by_model(settled)
    with pytest.raises(sa.exc.DBAPIError), settled.catalog.write() as connection:
        connection.execute(sa.update(erratum).values(should_be=HORSE))
