"""Open Images: its files are fetched once, in parts, and picked through row by row."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from collector.records import Sighting
from collector.spiders import bigfiles, openimages
from collector.spiders.base import NothingToAsk, SchemaDrift, SourceDown
from collector.spiders.openimages import CLASSES, IMAGES, LABELS, class_named, read_row
from collector.workspace import Workspace
from tests.collector.spiders.replay import Answers, Params, Replay, pages, sample, spider_at

HEADER = "ImageID,Subset,OriginalURL,License,OriginalLandingURL,Author,Title,OriginalMD5"


def many(positives: int, negatives: int) -> Answers:
    """The files with so many pictures of horses, and so many that are none."""
    total = positives + negatives
    labels = [f"{n:016x},verification,/m/0aaa1,{int(n < positives)}.0" for n in range(total)]
    rows = [f"{n:016x},validation,https://a.org/{n}.jpg,https://creativecommons.org/licenses/by/2.0/,,A,,"
            for n in range(total)]  # fmt: skip
    return {
        **sample("openimages"),
        f"/{LABELS['validation']}": ["ImageID,Source,LabelName,Confidence", *labels],
        f"/{IMAGES['validation']}": [HEADER, *rows],
    }


def folder_of(ws: Workspace) -> Path:
    return ws.data / "cache" / "openimages"


def test_positives_and_negatives_come_in_turn_under_their_own_labels(ws: Workspace) -> None:
    with Replay(sample("openimages")) as replay:
        spider = spider_at(replay, ws, "openimages")
        (page,) = pages(spider)
    told = [(each.source_id[-1], each.label, each.facts["verified"]) for each in page.found]
    assert told == [
        ("1", "", "positive"), ("6", "not-horse", "negative"), ("3", "", "positive"), ("2", "not-horse", "negative"),
    ]  # fmt: skip  # the picture on which people disagree is left out, and so is a third negative
    assert [each.title for each in page.found] == ['Bay, "Bella" and me', "A cow", "Two lines of one title", "A dog"]
    assert {(each.license.code, each.license.version) for each in page.found} == {("by", "2.0")}
    assert page.found[0].license.evidence == "License='https://creativecommons.org/licenses/by/2.0/'"
    assert page.found[0].creator_url == "https://photos.example.org/people/ada/"
    assert page.found[3].facts["rotation"] == 90
    assert spider.job.notes["openimages"] == ["horse is class /m/0aaa1 Horse"]


def test_the_bytes_must_be_those_of_the_original(ws: Workspace) -> None:
    md5 = base64.b64encode(hashlib.md5(b"original").digest()).decode()
    with Replay({}) as replay:
        spider = spider_at(replay, ws, "openimages")
        found = read_row({"ImageID": "1", "OriginalMD5": md5}, "positive")
        assert spider.verify(found, b"original") is None
        refused = spider.verify(found, b"a resized copy")
    assert refused is not None
    assert refused.reason == "hash-mismatch"
    assert "md5" not in read_row({"ImageID": "1", "OriginalMD5": "not base64!"}, "positive").facts


def test_pages_go_on_in_both_lists_and_end_with_the_positives(ws: Workspace) -> None:
    with Replay(many(positives=130, negatives=70)) as replay:
        found = pages(spider_at(replay, ws, "openimages"))
        again = spider_at(replay, ws, "openimages")  # as after a kill
        assert asyncio.run(again.page("horse", found[0].cursor)) == found[1]
    assert [[each.label for each in page.found].count("not-horse") for page in found] == [50, 20, 0]
    assert [[each.label for each in page.found].count("") for page in found] == [50, 50, 30]
    ids = [each.source_id for page in found for each in page.found]
    assert len(set(ids)) == len(ids) == 200
    assert len(replay.asked) == 3  # each file once


def test_lists_that_were_deleted_are_made_again(ws: Workspace) -> None:
    with Replay(many(60, 0)) as replay:
        first, second = pages(spider_at(replay, ws, "openimages"))
        for path in folder_of(ws).glob("*.jsonl"):
            path.unlink()
        assert asyncio.run(spider_at(replay, ws, "openimages").page("horse", first.cursor)) == second
    assert len(replay.asked) == 3


def test_a_dry_run_fetches_the_names_of_the_classes_only(ws: Workspace) -> None:
    with Replay(sample("openimages")) as replay:
        spider = spider_at(replay, ws, "openimages", dry_run=True)
        assert [page.found for page in pages(spider)] == [[]]
    assert replay.asked == [f"/{CLASSES}"]
    assert spider.job.notes["openimages"] == [
        "horse is class /m/0aaa1 Horse", "a crawl first fetches the lists of the validation part, 40 MB",
    ]  # fmt: skip


def test_a_word_that_is_no_class_is_skipped_with_what_is_near(ws: Workspace) -> None:
    with Replay(sample("openimages")) as replay, pytest.raises(NothingToAsk) as told:
        pages(spider_at(replay, ws, "openimages"), "racing")
    assert str(told.value) == "it has no class racing; it has Horse racing"
    assert class_named("bus", {"/m/2": "Buses", "/m/1": "Bus"}) == "/m/1"
    assert openimages.read_classes(["/m/1,Bus", '/m/2,"Horse, bay"']) == {"/m/1": "Bus", "/m/2": "Horse, bay"}


def test_a_file_is_fetched_in_parts_and_goes_on_where_it_was_stopped(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bigfiles, "PART", 500)
    answers = many(60, 0)
    path = f"/{LABELS['validation']}"
    lines, left = answers[path], [3]  # parts that arrive before the server fails

    def stumbling(params: Params) -> Any:
        left[0] -= 1
        return lines if left[0] >= 0 else 500

    answers[path] = stumbling
    with Replay(answers) as replay:
        with pytest.raises(SourceDown, match=r"human-imagelabels\.csv answered HTTP 500"):
            pages(spider_at(replay, ws, "openimages"))
        file = folder_of(ws) / path.rpartition("/")[2]
        assert not file.exists()
        assert file.with_name(f"{file.name}.part").stat().st_size == 1500
        before, left[0] = len(replay.to(path)), 1000
        first, _ = pages(spider_at(replay, ws, "openimages"))
    whole = ("\n".join(lines) + "\n").encode()
    assert file.read_bytes() == whole
    assert len(replay.to(path)) - before == -(-len(whole) // 500) - 3
    about = json.loads(file.with_name(f"{file.name}.json").read_text())
    assert (about["bytes"], about["sha256"]) == (len(whole), hashlib.sha256(whole).hexdigest())
    assert about["etag"]
    assert len(first.found) == 50


def test_a_file_that_changes_on_the_way_is_fetched_from_its_beginning(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bigfiles, "PART", 500)
    answers = many(60, 0)
    path = f"/{LABELS['validation']}"
    old, new = answers[path], many(61, 0)[f"/{LABELS['validation']}"]
    requests: list[Params] = []

    def renewed(params: Params) -> object:
        requests.append(params)
        return old if len(requests) < 4 else new

    answers[path] = renewed
    with Replay(answers) as replay:
        pages(spider_at(replay, ws, "openimages"))
    assert (folder_of(ws) / path.rpartition("/")[2]).read_text() == "\n".join(new) + "\n"
    restless = many(60, 0)
    count = [0]

    def changing(params: Params) -> list[str]:
        count[0] += 1
        return [*old, f"edition {count[0]}"]

    restless[f"/{IMAGES['validation']}"] = changing
    for left in folder_of(ws).iterdir():
        left.unlink()
    with Replay(restless) as replay, pytest.raises(SourceDown, match="keeps changing"):
        pages(spider_at(replay, ws, "openimages"))


def test_a_server_that_knows_no_parts_may_send_a_small_file_whole(ws: Workspace) -> None:
    answers = {path: ("\n".join(lines) + "\n").encode() for path, lines in sample("openimages").items()}
    with Replay(answers) as replay:
        (page,) = pages(spider_at(replay, ws, "openimages"))
    assert len(page.found) == 4


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [(LABELS["validation"], "Confidence", "Score"), (IMAGES["validation"], "OriginalURL", "URL")],
)
def test_a_file_that_lacks_a_column_is_told(ws: Workspace, file: str, old: str, new: str) -> None:
    answers = sample("openimages")
    answers[f"/{file}"][0] = answers[f"/{file}"][0].replace(old, new)
    with Replay(answers) as replay, pytest.raises(SchemaDrift) as told:
        pages(spider_at(replay, ws, "openimages"))
    name = file.rpartition("/")[2]
    assert f"openimages has changed its files: {name} has no column `{old}`" in str(told.value)
    assert "collector/spiders/samples/openimages.json" in str(told.value)


def test_a_row_may_lack_anything_but_its_id() -> None:
    found = read_row({"ImageID": "1"}, "negative", "none")
    assert (found.url, found.license.code, found.label) == ("", "missing", "none")
    assert isinstance(found, Sighting)
