"""Lists of addresses: whatever their format, every row is one candidate, and reading continues at any of them."""

from __future__ import annotations

import asyncio
import csv
import gzip
import io
import tracemalloc
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector import licenses
from collector.errors import UsageError
from collector.records import Concept, Sighting
from collector.spiders import lists
from collector.spiders.base import Job
from collector.spiders.budget import Budget
from collector.spiders.config import UrlsConfig
from collector.spiders.job import Shard
from collector.spiders.lists import Row, rows
from collector.spiders.runner import crawl
from collector.spiders.urls import PAGE_SIZE, Urls, read_license, read_row, vouched_for
from collector.workspace import Workspace
from tests.collector.crawls import MakeWorkspace, adds_up
from tests.collector.spiders.replay import Replay
from tests.conftest import jpeg

TABLE = [
    ("https://a.example/1.jpg", "by-4.0", "A horse"),
    ("https://b.example/2.jpg", "", "Zwei Pferde, eine Kuh; ein Hügel"),
    ("https://a.example/3.jpg", "https://creativecommons.org/licenses/by-sa/3.0/de/", 'A "grey"\nhorse'),
    ("https://c.example/ß?x=1&y=2#z", "cc0", ""),
]
DEFAULT = UrlsConfig()


def written(text: str, delimiter: str = ",") -> str:
    buffer = io.StringIO()
    csv.writer(buffer, delimiter=delimiter).writerows([("url", "license", "caption"), *TABLE])
    return text + buffer.getvalue()


def parquet(path: Path, names: tuple[str, ...] = ("url", "license", "caption"), **more: Any) -> None:
    columns = [list(column) for column in zip(*TABLE, strict=True)]
    pq.write_table(pa.table(dict(zip(names, columns, strict=True))), path, **more)


def make(folder: Path, kind: str) -> Path:
    path = folder / f"list.{kind.split()[0]}"
    match kind:
        case "csv":
            path.write_text(written(""), encoding="utf-8")
        case "csv of a spreadsheet":
            path.write_text(written("\ufeff", ";"), encoding="utf-8")
        case "tsv":
            path.write_text(written("", "\t"), encoding="utf-8")
        case "csv.gz":
            path.write_bytes(gzip.compress(written("").encode()))
        case "parquet":
            parquet(path)
        case "parquet in groups":
            parquet(path, row_group_size=2)
        case "parquet of img2dataset":
            parquet(path, ("URL", "LICENSE", "TEXT"))
    return path


KINDS = ["csv", "csv of a spreadsheet", "tsv", "csv.gz", "parquet", "parquet in groups", "parquet of img2dataset"]


def job_for(ws: Workspace, **more: Any) -> Job:
    """A job that fetches nothing: for asking a spider for its pages."""
    more = {"queries": (("horse", "horse"),), "intake": None, "progress": lambda source, job: None, **more}
    return Job(
        ws=ws,
        concept=Concept("horse", ("horse", "not-horse")),
        preset="open",
        budget=Budget(10, ["urls"], {}, at_once=4),
        **more,
    )


# -- reading ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_every_format_gives_the_same_rows(tmp_path: Path, kind: str) -> None:
    found = list(rows(make(tmp_path, kind), DEFAULT))
    assert [each[2:] for each in found] == TABLE
    assert [each.number for each in found] == [1, 2, 3, 4]


@pytest.mark.parametrize("kind", KINDS)
def test_reading_continues_behind_any_row(tmp_path: Path, kind: str) -> None:
    path = make(tmp_path, kind)
    found = list(rows(path, DEFAULT))
    for place, row in enumerate(found, 1):
        assert list(rows(path, DEFAULT, row.after, row.number)) == found[place:]


def test_a_text_has_an_address_in_each_line(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("# horses\nhttps://a.example/1.jpg\n\n  https://a.example/2.jpg \r\nhttps://a.example/3.jpg")
    found = list(rows(path, DEFAULT))
    assert [row.address[-5:] for row in found] == ["1.jpg", "2.jpg", "3.jpg"]
    assert list(rows(path, DEFAULT, found[0].after, 1)) == found[1:]


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@given(st.lists(st.tuples(TEXT, TEXT, TEXT), max_size=20))
def test_any_text_in_a_table_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, table: list[tuple[str, str, str]]
) -> None:
    path = tmp_path_factory.mktemp("lists") / "list.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows([("url", "license", "caption"), *table])
    found = list(rows(path, DEFAULT))
    assert [row[2:] for row in found] == [tuple(cell.strip() for cell in row) for row in table]
    for place, row in enumerate(found, 1):
        assert list(rows(path, DEFAULT, row.after, row.number)) == found[place:]


def test_columns_are_found_by_their_usual_names_or_by_the_settings(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text("License,Bild,TITLE\nby-4.0,https://a.example/1.jpg,Pferd\n")
    assert next(rows(path, UrlsConfig(url_column="Bild")))[2:] == ("https://a.example/1.jpg", "by-4.0", "Pferd")
    path.write_text("image_url\nhttps://a.example/1.jpg\n")
    assert next(rows(path, DEFAULT))[2:] == ("https://a.example/1.jpg", "", "")


def test_short_and_empty_rows_are_no_mistake(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text("url,license,caption\nhttps://a.example/1.jpg\n\n,by-4.0\n")
    assert [row[2:] for row in rows(path, DEFAULT)] == [("https://a.example/1.jpg", "", ""), ("", "by-4.0", "")]


@pytest.mark.parametrize(
    ("name", "data", "config", "said"),
    [
        ("none.csv", None, {}, "cannot be read: No such file"),
        ("empty.txt", b"", {}, "is empty"),
        ("header.csv", b"url,license\n", {}, "holds no addresses"),
        ("horses.txt", b"horse\nmare\n", {}, "no address in its first line, but 'horse'"),
        ("photo.txt", jpeg(1), {}, "is not UTF-8 text"),
        ("wide.csv", "url\nhttps://a.example/1.jpg".encode("utf-16"), {}, "is not UTF-8 text"),
        ("other.csv", b"urls,kind\nhttps://a.example/1.jpg,x\n", {}, "has no column `url`; did you mean `urls`?"),
        ("rights.csv", b"url\nhttps://a.example/1.jpg\n", {"license_column": "rights"}, "has no column `rights`"),
        ("broken.parquet", b"PAR1 and nothing more", {}, "no Parquet file that can be read"),
        ("half.txt.gz", gzip.compress(b"https://a.example/1.jpg\n", mtime=0)[:20], {}, "cannot be read on"),
        ("plain.csv.gz", b"url\nhttps://a.example/1.jpg\n", {}, "cannot be read on: Not a gzipped file"),
        ("nothing.txt.gz", gzip.compress(b"", mtime=0), {}, "holds no addresses"),
        ("quote.csv", b'url\n"https://a.example/1.jpg' + b"x" * 200_000, {}, "row 1 is no CSV"),
        ("folder", "folder", {}, "cannot be read: Is a directory"),
    ],
)
def test_a_list_that_cannot_be_read_is_explained(
    tmp_path: Path, name: str, data: bytes | str | None, config: dict[str, str], said: str
) -> None:
    path = tmp_path / name
    if isinstance(data, bytes):
        path.write_bytes(data)
    elif data:
        path.mkdir()
    with pytest.raises(UsageError) as caught:
        lists.check([path], UrlsConfig(**config))
    assert said in caught.value.message
    assert str(path) in caught.value.message


def test_memory_does_not_grow_with_the_list(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    with path.open("w", encoding="utf-8") as file:
        file.write("url,license,caption\n")
        file.writelines(f"https://a.example/pictures/{n:07}.jpg,by-4.0,A horse in field {n}\n" for n in range(20_000))
    tracemalloc.start()
    try:
        assert sum(1 for _ in rows(path, DEFAULT)) == 20_000
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


# -- rows as candidates ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("by-4.0", "by"), ("CC BY-SA 3.0", "by-sa"), ("cc0", "cc0"), ("pdm", "pdm"), ("by-nc-nd-2.0", "by-nc-nd"),
        ("https://creativecommons.org/licenses/by/4.0/", "by"), 
        ("http://creativecommons.org/publicdomain/zero/1.0/", "cc0"),
        ("", "missing"), ("by", "unknown"), ("?", "unknown"), ("own", "unknown"), ("free", "unknown"),
        ("https://example.org/license", "unknown"), ("https://creativecommons.org.example/licenses/by/4.0/", "unknown"),
    ],
)  # fmt: skip
def test_a_license_column_is_read_strictly(text: str, code: str) -> None:
    assert read_license(text).code == code


def test_evidence_names_the_row_and_who_vouches() -> None:
    row = Row(17, 400, "https://a.example/1.jpg", "by-4.0", "A horse")
    stated = read_row(row, "list.csv", vouched_for("cc0"))
    assert (stated.license.code, stated.license.evidence) == ("by", "license='by-4.0', row 17 of list.csv")
    assert (stated.source, stated.source_id, stated.title) == ("urls", "https://a.example/1.jpg", "A horse")
    silent = row._replace(license="")
    vouched = read_row(silent, "list.csv", vouched_for("by-sa-4.0")).license
    assert licenses.judge(vouched, "open") is None
    assert vouched.evidence == "row 17 of list.csv states none; a person states sources.urls.license='by-sa-4.0'"
    assert read_row(silent, "list.csv", None).license.code == "missing"
    refused = read_row(row._replace(license="no idea"), "list.csv", vouched_for("cc0"))
    assert refused.license.code == "unknown", "what the row states counts, not what a person says of silent rows"


def test_nobody_can_vouch_with_a_word_that_is_no_license() -> None:
    with pytest.raises(UsageError, match="takes licenses only"):
        vouched_for("own")
    with pytest.raises(UsageError, match="not a license code"):
        vouched_for("free")


def test_long_and_odd_addresses_have_short_names() -> None:
    long = read_row(Row(1, 9, "https://a.example/" + "x" * 400), "list.txt", None)
    assert len(long.source_id) == 64
    assert len(long.url) == 418
    data = read_row(Row(2, 9, "data:image/png;base64," + "A" * 5000), "list.txt", None)
    assert len(data.url) <= 300
    assert read_row(Row(3, 9, ""), "list.txt", None).source_id == "row 3 of list.txt"


# -- pages ----------------------------------------------------------------------------------------------------------


def listed(folder: Path, number: int, name: str = "list.txt") -> Path:
    path = folder / name
    path.write_text("".join(f"https://host{n % 7}.example/{n}.jpg\n" for n in range(number)))
    return path


def spider(job: Job, **config: Any) -> Urls:
    return Urls(job, UrlsConfig(license="cc0", **config))


def pages_of(make_spider: Any, words: str = "horse") -> list[list[Sighting]]:
    """All pages, each asked for by a spider that knows nothing but the cursor."""
    found, cursor = [], None
    while True:
        page = asyncio.run(make_spider().page(words, cursor))
        found.append(list(page.found))
        cursor = page.cursor
        if cursor is None:
            return found


def test_pages_hold_a_thousand_rows_and_go_on_in_another_process(ws: Workspace, tmp_path: Path) -> None:
    files = [str(listed(tmp_path, 2500)), str(listed(tmp_path, 30, "more.txt"))]
    pages = pages_of(lambda: spider(job_for(ws, options={"urls": files})))
    assert [len(page) for page in pages] == [PAGE_SIZE, PAGE_SIZE, 530]
    assert [each.url for page in pages for each in page][:2500] == (tmp_path / "list.txt").read_text().split()
    job = job_for(ws, options={"urls": files})
    same = spider(job)
    assert pages_of(lambda: same) == pages


def test_each_process_takes_its_own_hosts(ws: Workspace, tmp_path: Path) -> None:
    options = {"urls": [str(listed(tmp_path, 3000))]}
    shares = []
    for shard in (Shard(0, 3), Shard(1, 3), Shard(2, 3)):
        urls = spider(job_for(ws, options=options, shard=shard))
        shares.append({each.url for page in pages_of(lambda urls=urls: urls) for each in page})
    assert sum(map(len, shares)) == 3000
    assert len(set.union(*shares)) == 3000


def test_a_list_is_the_same_whatever_is_searched_for(ws: Workspace, tmp_path: Path) -> None:
    queries = (("horse", "horse"), ("horse", "pony"))
    job = job_for(ws, options={"urls": [str(listed(tmp_path, 5))]}, queries=queries)
    assert [len(asyncio.run(spider(job).page(words, None)).found) for _, words in queries] == [5, 0]


def test_a_list_that_has_changed_is_another_search(ws: Workspace, tmp_path: Path) -> None:
    path = listed(tmp_path, 5)
    urls = spider(job_for(ws, options={"urls": [str(path)]}))
    before = urls.asks("horse")
    assert urls.asks("horse") == before
    path.write_text(path.read_text() + "https://host.example/new.jpg\n")
    assert urls.asks("horse") != before


def test_files_of_the_settings_lie_beside_config_toml(ws: Workspace) -> None:
    listed(ws.root, 3)
    assert len(asyncio.run(spider(job_for(ws), files=("list.txt",)).page("horse", None)).found) == 3
    with pytest.raises(UsageError, match="no list of addresses is named"):
        asyncio.run(spider(job_for(ws)).page("horse", None))


# -- a crawl --------------------------------------------------------------------------------------------------------


def test_a_list_is_crawled_by_two_processes_and_never_twice(make_workspace: MakeWorkspace) -> None:
    with Replay({}, files=True) as site:
        ws = make_workspace('[crawl]\ncontact = "tests@localhost"\nallow_private_hosts = ["127.0.0.1", "localhost"]\n')
        places = (f"{site.url}/files", site.url.replace("127.0.0.1", "localhost") + "/files")
        lines = [f"{places[n % 2]}/{n}.jpg,{'by-4.0' if n != 5 else ''},Horse {n}\n" for n in range(12)]
        lines += [f"{site.url}/gone.jpg,by-4.0,\n", "ftp://127.0.0.1/x.jpg,by-4.0,\n", *lines[:4]]
        path = ws.root / "list.csv"
        path.write_text("".join(["url,license,caption\n", *lines]), encoding="utf-8")
        summary = crawl(ws, "horse", limit=50, urls=[str(path)], processes=2)
        assert (summary.kept, summary.rejected) == (11, {"bad-address": 1, "dead-link": 1, "license-missing": 1})
        assert adds_up(summary)
        refused = ws.catalog.frame("rejections").set_index("reason")
        assert refused.loc["license-missing", "detail"] == "license='', row 6 of list.csv"
        asked = [target for target in site.asked if target.endswith(".jpg")]
        assert len(asked) == len(set(asked)) == 12
        site.asked.clear()
        assert crawl(ws, "horse", limit=50, urls=[str(path)]).new == 0
        assert not [target for target in site.asked if target.startswith("/files/")]
