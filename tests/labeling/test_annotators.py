from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

import pytest

from collector.catalog import labels
from collector.catalog import rounds as book
from collector.catalog.labels import ANYBODY
from collector.errors import ServiceDown, UsageError
from collector.workspace import Workspace
from labeling import accounts
from labeling.accounts import Account
from labeling.annotators import add, assign, labelers, read_shares, remove, team
from labeling.lifecycle import folder_of, running
from labeling.pull import pull
from labeling.push import push
from labeling.rounds import Desk, Rules
from labeling.server import Server
from labeling.studio import Studio, sign_in
from tests.labeling.desks import answer, tasks_of


def known(ws: Workspace, *names: str) -> None:
    book.put_people(ws.catalog, [book.Person(name, Account.new(name).email, "active", None) for name in names])


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", "", " ", "a" * 65, "-x", "a/b", "a|b", "a\nb", "`a`", ANYBODY]
)
def test_a_name_that_could_do_harm_is_refused_before_anything_is_asked(ws: Workspace, name: str) -> None:
    with pytest.raises(UsageError, match="cannot be the name"):
        add(ws, [name])
    assert book.people(ws.catalog) == {}


def test_two_people_cannot_share_an_address(ws: Workspace) -> None:
    for names in (["Anna", "anna"], ["a b", "a.b"]):
        with pytest.raises(UsageError, match="would sign in as"):
            add(ws, names)
    known(ws, "anna")
    with pytest.raises(UsageError, match=r"would sign in as anna@collect\.local"):
        add(ws, ["ANNA"])
    with pytest.raises(UsageError, match="one person"):
        add(ws, ["a", "b"], email="a@example.org")
    for email in ("nobody", "a@b", "<b>@example.org", "a" * 250 + "@example.org"):
        with pytest.raises(UsageError, match="not an e-mail address"):
            add(ws, ["a"], email=email)
    with pytest.raises(UsageError, match="signs in as"):
        add(ws, ["anna"], email="other@example.org")


def test_without_label_studio_the_hint_is_to_start_it(ws: Workspace) -> None:
    with pytest.raises(ServiceDown):
        add(ws, ["anna"])


def test_the_configured_label_while_nobody_was_added(make_workspace: Callable[..., Workspace]) -> None:
    ws = make_workspace('[label]\nannotators = ["ann", "ben"]\n')
    assert [row.name for row in labelers(ws)] == ["ann", "ben"]
    assert [row["state"] for row in team(ws).annotators.values()] == ["configured", "configured"]
    known(ws, "cyd", "dan")
    assert [row.name for row in labelers(ws)] == ["cyd", "dan"]
    book.put_people(ws.catalog, [book.people(ws.catalog)[name]._replace(state="removed") for name in ("cyd", "dan")])
    assert [row.name for row in labelers(ws)] == ["ann", "ben"]
    book.put_people(ws.catalog, [book.Person(name, "", "removed", None) for name in ("ann", "ben")])
    with pytest.raises(UsageError, match="nobody labels"):
        labelers(ws)


def test_shares_are_numbers_of_people_who_label(ws: Workspace) -> None:
    known(ws, "anna", "ben")
    for word in ("anna", "anna=", "=2", "anna=x"):
        with pytest.raises(UsageError, match="nobody a share"):
            read_shares([word])
    assert read_shares(["anna=2", "ben=0.5"]) == {"anna": 2, "ben": 0.5}
    with pytest.raises(UsageError, match="did you mean `anna`"):
        assign(ws, {"ana": 1})
    for weight in (-1.0, float("nan"), float("inf")):
        with pytest.raises(UsageError, match="cannot be"):
            assign(ws, {"anna": weight})
    with pytest.raises(UsageError, match="nobody would get"):
        assign(ws, {"anna": 0, "ben": 0})
    assert {name: row["share"] for name, row in assign(ws, {"anna": 2}).annotators.items()} == {"anna": 2, "ben": 1}


@pytest.mark.parametrize("each", [1, 300])
def test_new_tasks_are_dealt_by_shares_in_small_pushes_and_in_large_ones(ws: Workspace, each: int) -> None:
    ws.concept("horse", create=True)
    names = ["anna", "ben", "cyd", "dan"]
    labels.add_annotators(ws.catalog, {name: name for name in names})
    desk = Desk(ws, ws.concept("horse"), None, dict(zip(names, (3.0, 2.0, 1.0, 0.0), strict=True)))  # type: ignore[arg-type]
    round_ = desk.open("r", "pool", 1, Rules())
    load: Counter[str] = Counter()
    for start in range(0, 600, each):
        wanted = {f"{n:064x}": 1 for n in range(start, start + each)}
        load.update(row.annotator for row in desk._assign(round_, wanted, []))
    tolerance = 45 if each == 1 else 4
    assert [load[name] for name in names] == [pytest.approx(n, abs=tolerance) for n in (300, 200, 100, 0)]
    twice = desk._assign(round_, dict.fromkeys((f"{n:064x}" for n in range(60)), 2), [])
    assert len({(row.image, row.annotator) for row in twice}) == len(twice) == 120


@pytest.mark.studio
def test_a_team_is_made_works_and_loses_a_member(desk: Workspace, concept: str, studio_server: Server) -> None:
    name = f"dora {time.time_ns()}"
    summary = add(desk, [name, "eve"])
    assert {key for key, row in summary.annotators.items() if row["state"] == "active"} == {name, "eve"}
    assert any("ann, ben, cyd" in warning for warning in summary.warnings)
    assert folder_of(desk).joinpath(accounts.FILE).samefile(summary.passwords)
    push(desk, concept, limit=2)
    tasks = labels.tasks(desk.catalog, concept)
    assert {task.annotator for task in tasks} == {name, "eve"}
    mine = [task for task in tasks_of(desk, concept, "holdout") if task.annotator == name]
    answer(studio_server, mine[0], concept, seconds=4.0)
    pull(desk, concept)
    row = team(desk).annotators[name]
    assert (row["answered"], row["seconds"]) == (1, 4.0)

    account = accounts.load(folder_of(desk))[name]
    remove(desk, name)
    server = running(desk)
    with Studio(server.url, account.token) as studio, pytest.raises(Exception, match="token"):
        studio.check()
    with pytest.raises(Exception, match="does not know"):
        sign_in(server.url, account)
    assert team(desk).annotators[name]["state"] == "removed"
    assert [row.annotator for row in labels.current(desk.catalog, concept)] == [name]
    add(desk, ["fay"])
    push(desk, concept, limit=2)
    later = labels.tasks(desk.catalog, concept)[len(tasks) :]
    assert {task.annotator for task in later} == {"fay"}  # what he left open goes to another
    assert {task.image for task in later} == {task.image for task in tasks} - {mine[0].image}

    add(desk, [name])
    back = accounts.load(folder_of(desk))[name]
    assert sign_in(server.url, back) == back.token
    with pytest.raises(UsageError, match="administers"):
        remove(desk, "me")
    with pytest.raises(UsageError, match="nobody is called"):
        remove(desk, "nobody at all")
