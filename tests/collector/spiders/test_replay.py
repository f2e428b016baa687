"""All sources without a key in one crawl of a loopback server that answers as they do."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from collector.spiders.base import SchemaDrift
from collector.spiders.runner import CrawlSummary, crawl
from collector.workspace import Workspace
from tests.collector.crawls import adds_up
from tests.collector.spiders.replay import Answers, Replay, file_at, pages, sample, settings, spider_at

NAMES = ("openverse", "wikimedia", "inaturalist", "met", "gbif", "internetarchive", "openimages")
Crawled = tuple[CrawlSummary, Workspace, Replay]


def samples() -> Answers:
    return {path: answer for name in NAMES for path, answer in sample(name).items()}


@pytest.fixture(scope="module")
def crawled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crawled]:
    with Replay(samples(), files=True) as replay:
        config = tmp_path_factory.mktemp("crawled") / "config.toml"
        config.write_text(settings(replay.url, *NAMES))
        with Workspace.open(config, environ={}) as ws:
            yield crawl(ws, "horse", limit=100, sources=NAMES), ws, replay


def test_every_source_gives_what_its_sample_has_and_every_candidate_is_explained(crawled: Crawled) -> None:
    summary, ws, _ = crawled
    assert adds_up(summary)
    assert {name: row["kept"] for name, row in summary.sources.items()} == {
        "openverse": 2, "wikimedia": 2, "inaturalist": 2, "met": 3, "gbif": 2, "internetarchive": 2, "openimages": 4,
    }  # fmt: skip
    refused = ws.catalog.frame("rejections")
    assert Counter(zip(refused["source"], refused["reason"], strict=True)) == {
        ("openverse", "license-not-allowed"): 1,
        ("wikimedia", "license-not-allowed"): 1,
        ("inaturalist", "license-missing"): 1,
        ("inaturalist", "license-contradictory"): 1,
        ("met", "license-missing"): 1,
        ("met", "off-topic"): 1,
        ("gbif", "license-not-allowed"): 1,
        ("gbif", "license-missing"): 1,
        ("internetarchive", "license-missing"): 1,
    }
    assert summary.down == ()


def test_originals_are_stored_byte_for_byte_with_license_page_and_creator(crawled: Crawled) -> None:
    _, ws, replay = crawled
    sightings = ws.catalog.frame("sightings")
    for row in sightings.itertuples():
        path = str(row.url).removeprefix(replay.url).partition("?")[0].replace("%20", " ")
        assert ws.store.get(str(row.image)) == file_at(path)
        assert row.license_evidence
        assert str(row.page).startswith("https://")
        assert "<" not in f"{row.creator} {row.title}"
    originals = [url for url in sightings["url"] if "inaturalist" in url]
    assert sorted(url.partition("?")[0].rpartition("/")[2] for url in originals) == ["original.jpeg", "original.jpg"]
    assert not [path for path in replay.asked if "square" in path or "web-large" in path or "thumb" in path]


def test_verified_negatives_have_the_label_of_negatives(crawled: Crawled) -> None:
    sightings = crawled[1].catalog.frame("sightings")
    ours = sightings[sightings["source"] == "openimages"]
    facts = [json.loads(each) if isinstance(each, str) else each for each in ours["facts"]]
    assert {(label, each["verified"]) for label, each in zip(ours["label"], facts, strict=True)} == {
        ("horse", "positive"), ("not-horse", "negative"),
    }  # fmt: skip
    assert set(sightings[sightings["source"] != "openimages"]["label"]) == {"horse"}


def test_a_dry_run_sends_one_search_and_says_what_words_mean(make_workspace: Callable[..., Workspace]) -> None:
    with Replay(samples(), files=True) as replay:
        ws = make_workspace(settings(replay.url, *NAMES))
        summary = crawl(ws, "horse", limit=100, sources=NAMES, dry_run=True)
    assert sorted(path.partition("?")[0] for path in replay.asked) == [
        "/advancedsearch.php",
        "/public/collection/v1/search",
        "/v1/images/",
        "/v1/observations",
        "/v1/occurrence/search",
        "/v1/species/match",  # which taxon a word is
        "/v1/species/search",
        "/v1/taxa/autocomplete",
        "/v7/oidv7-class-descriptions.csv",
        "/w/api.php",
    ]
    notes = " | ".join(summary.notes)
    for words in ("horse is taxon 502 Equus caballus", "horse is taxon 302", "horse finds 4 objects", "class /m/0aaa1"):
        assert words in notes
    assert not ws.catalog.frame("sightings").size
    assert any("horse-album" in line for line in summary.planned)


def renamed(value: Any, old: str, new: str) -> Any:
    """An answer in which a field, or a column, has another name."""
    if isinstance(value, dict):
        return {new if key == old else key: renamed(each, old, new) for key, each in value.items()}
    if isinstance(value, list):
        return [renamed(each, old, new) for each in value]
    return value.replace(old, new) if isinstance(value, str) and value.startswith(("ImageID", "LabelName")) else value


DRIFT = {
    "openverse": ("license", "licence", "results[].license"),
    "wikimedia": ("extmetadata", "metadata", "imageinfo[].extmetadata"),
    "inaturalist": ("photos", "pictures", "results[].photos"),
    "met": ("isPublicDomain", "publicDomain", "objects[].isPublicDomain"),
    "gbif": ("identifier", "url", "media[].identifier"),
    "internetarchive": ("docs", "documents", "response.docs"),
    "openimages": ("License", "Rights", "no column `License`"),
}


@pytest.mark.parametrize("name", DRIFT)
def test_a_renamed_field_names_the_source_the_field_and_the_sample(ws: Workspace, name: str) -> None:
    old, new, field = DRIFT[name]
    answers = {path: renamed(answer, old, new) for path, answer in sample(name).items()}
    with Replay(answers) as replay, pytest.raises(SchemaDrift) as told:
        pages(spider_at(replay, ws, name))
    assert f"{name} has changed its" in str(told.value)
    assert field in str(told.value)
    assert f"collector/spiders/samples/{name}.json" in str(told.value)
    if name != "openimages":
        kept = json.loads((ws.data / "logs" / f"{name}-answer.json").read_text())
        assert new in json.dumps(kept)


def test_a_source_that_has_changed_stops_and_leaves_the_others_alone(make_workspace: Callable[..., Workspace]) -> None:
    answers = {**samples(), "/v1/images/": renamed(sample("openverse")["/v1/images/"], "license", "licence")}
    with Replay(answers, files=True) as replay:
        ws = make_workspace(settings(replay.url, "openverse", "wikimedia"))
        summary = crawl(ws, "horse", limit=100, sources=["openverse", "wikimedia"])
    assert summary.kept == 2
    assert summary.down == ("openverse",)
    assert "openverse has changed its answers: `results[].license` is missing" in summary.warnings[0]
