"""Pictures that stand in for pictures that are gone; and limits of hundreds, which are exact."""

from __future__ import annotations

from pathlib import Path

import pytest

from collector.catalog import images
from collector.spiders.runner import crawl
from tests.collector import web
from tests.collector.crawls import MakeWorkspace, adds_up, paths_of_stored
from tests.collector.web import Web
from tests.conftest import jpeg


@pytest.fixture
def site() -> object:
    with web.serving() as running:
        yield running


def rows(site: Web, folder: Path, names: list[str]) -> list[str]:
    path = folder / "list.csv"
    lines = [f"{site.url}/{name},cc0,{name} in the snow" for name in names]
    path.write_text("\n".join(["url,license,caption", *lines]) + "\n", encoding="utf-8")
    return [str(path)]


def test_one_picture_at_many_addresses_is_a_placeholder_and_gives_its_place_back(
    site: Web, make_workspace: MakeWorkspace, tmp_path: Path
) -> None:
    gone = [f"gone{n}.jpg" for n in range(8)]
    there = [f"there{n}.jpg" for n in range(5)]
    for name in gone:
        site.picture(f"/{name}", 0, jpeg(99))
    for n, name in enumerate(there):
        site.picture(f"/{name}", n)
    with make_workspace(web.settings(site)) as ws:
        summary = crawl(ws, "horse", urls=rows(site, tmp_path, gone[:6] + there + gone[6:]), limit=6)
        assert (summary.kept, summary.rejected) == (5, {"placeholder": 8})
        assert adds_up(summary)
        assert len(images.ids(ws.catalog)) == 5


def test_the_same_picture_at_two_addresses_is_a_repost_and_stays(
    site: Web, make_workspace: MakeWorkspace, tmp_path: Path
) -> None:
    for name in ("a.jpg", "b.jpg"):
        site.picture(f"/{name}", 7)
    with make_workspace(web.settings(site)) as ws:
        summary = crawl(ws, "horse", urls=rows(site, tmp_path, ["a.jpg", "b.jpg"]), limit=5)
        assert (summary.kept, summary.repeats, summary.rejected) == (1, 1, {})


@pytest.mark.slow
def test_limits_of_hundreds_are_exact(site: Web, make_workspace: MakeWorkspace, tmp_path: Path) -> None:
    names = [f"{n}.jpg" for n in range(560)]
    for n, name in enumerate(names):
        if n % 13:  # the others are missing
            site.picture(f"/{name}", n)
    with make_workspace(web.settings(site)) as ws:
        files = rows(site, tmp_path, names)
        for limit in (240, 500):
            summary = crawl(ws, "horse", urls=files, limit=limit, processes=2)
            assert summary.kept == limit
            assert adds_up(summary)
        assert len(paths_of_stored(ws)) == summary.kept
