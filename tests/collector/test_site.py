"""Any web site as a source: galleries, traps, wishes of the site, and a crawl that is killed on its way."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from scrapy.http import Response

from collector.errors import ServiceDown, UsageError
from collector.licenses import allowed
from collector.records import Concept, Sighting
from collector.spiders.asking import Gone
from collector.spiders.base import Job, SourceDown
from collector.spiders.budget import Budget
from collector.spiders.frontier import BARREN, Frontier
from collector.spiders.load import source_config
from collector.spiders.runner import CrawlSummary, crawl
from collector.spiders.site import Site
from collector.workspace import Workspace
from tests.collector.crawls import MakeWorkspace, adds_up
from tests.collector.test_embedded import LICENSE, file, people, xmp
from tests.collector.web import BY, Web, serving, settings
from tests.conftest import REPOSITORY


@pytest.fixture
def web() -> Iterator[Web]:
    with serving() as running:
        yield running


class Direct(Site):
    """The spider without a crawl around it."""

    async def get(self, url: str, *, headers: Mapping[str, str] | None = None, **meta: Any) -> Response:
        """An answer by urllib."""

        def ask() -> Response:
            try:
                with urlopen(Request(url, headers=dict(headers or {})), timeout=10) as answer:
                    return Response(answer.url, status=answer.status, headers=dict(answer.headers), body=answer.read())
            except HTTPError as error:
                with error:
                    return Response(url, status=error.code, body=error.read())

        return await asyncio.to_thread(ask)


def spider(ws: Workspace, *urls: str, **queries: str) -> Direct:
    """The spider in a crawl of `horse`, or for other labels: label = query."""
    asked = queries or {"horse": "horse"}
    job = Job(
        ws=ws,
        concept=Concept("horse", (*asked, "not-horse")),
        queries=tuple(asked.items()),
        preset="open",
        budget=Budget(1, ["site"], {}, at_once=1),
        intake=None,  # type: ignore[arg-type]
        progress=lambda source, job: None,
        allowed=allowed("open"),
        options={"url": list(urls)},
    )
    return Direct(job, source_config(ws, "site"))


def walk(site: Direct, words: str = "horse") -> list[Sighting]:
    """What all pages of a search show; each is asked for with a cursor that was written down."""

    async def ask() -> list[Sighting]:
        found: list[Sighting] = []
        cursor = None
        while True:
            page = await site.page(words, cursor)
            found += page.found
            cursor = json.loads(json.dumps(page.cursor))
            if cursor is None:
                return found

    return asyncio.run(ask())


def look(ws: Workspace, *urls: str, **options: Any) -> CrawlSummary:
    return crawl(ws, "horse", url=list(urls), limit=options.pop("limit", 500), **options)


# -- walking ----------------------------------------------------------------------------------------------------------


def test_a_gallery_of_several_pages_is_read_to_its_end(make_workspace: MakeWorkspace, web: Web) -> None:
    for number in range(4):
        more = f'<a rel="next" href="/g?page={number + 1}">next</a>' if number < 3 else '<a href="/about">about</a>'
        web.gallery(f"/g?page={number}", range(5 * number, 5 * number + 5), more=more)
    site = spider(make_workspace(settings(web, site="depth = 0")), f"{web.url}/g?page=0")
    found = walk(site)
    assert [each.title for each in found] == [f"Horse {number}" for number in range(20)]
    first = found[0]
    assert (first.source, first.source_id, first.url) == ("site", first.url, f"{web.url}/img/horse0.jpg")
    assert first.page == f"{web.url}/g?page=0"
    assert first.license.evidence == f"<link rel='license' href='{BY}'>"
    assert web.requests.total() == 4
    assert "all its pages were looked at" in site.job.notes["site"][0]


def test_a_thumbnail_without_a_license_is_looked_for_on_its_page(make_workspace: MakeWorkspace, web: Web) -> None:
    web.page("/g", '<a href="/p/1"><img src="/t/1.jpg"></a><a href="/p/2"><img src="/t/2.jpg"></a>')
    for number, title in ((1, "Two horses"), (2, "A cow")):
        shown = f'<a href="/full/{number}.jpg"><img src="/t/{number}.jpg" alt="{title}"></a>'
        web.page(f"/p/{number}", f'<figure>{shown}<a rel="license" href="{BY}">CC</a></figure>')
    ws = make_workspace(settings(web))
    found = walk(spider(ws, f"{web.url}/g"))
    assert [each.url for each in found] == [f"{web.url}/full/1.jpg"]  # the cow's page is not named, nor about horses
    assert found[0].facts["fallbacks"] == [f"{web.url}/t/1.jpg"]
    assert [each.url for each in walk(spider(ws, f"{web.url}/p/2"))] == [f"{web.url}/full/2.jpg"]


def test_other_hosts_and_other_words_stay_out(make_workspace: MakeWorkspace, web: Web) -> None:
    with serving() as other:
        other.gallery("/", range(3))
        web.page("/", f'<a href="{other.url}/">horses</a><a href="/seahorses">x</a><a href="/moved">x</a>')
        web.page("/seahorses", '<img src="/1.jpg" alt="A seahorse"><img src="/2.jpg" alt="Racehorse, horse-box">')
        web.pages["/moved"] = (302, {"Location": f"{other.url}/"}, b"")
        site = spider(make_workspace(settings(web)), f"{web.url}/")
        assert [each.title for each in walk(site)] == ["Racehorse, horse-box"]
        assert site.unread == {"elsewhere": 1}
        named = spider(site.job.ws, f"{web.url}/moved")
        assert len(walk(named)) == 3  # whoever names an address means where it leads


def test_pictures_of_named_pages_count_unless_they_speak_for_another_label(
    make_workspace: MakeWorkspace, web: Web
) -> None:
    titles = ("A donkey", "DSC_1", "Horses")
    web.page("/g", "".join(f'<img src="/{n}.jpg" alt="{title}">' for n, title in enumerate(titles)))
    site = spider(make_workspace(settings(web)), f"{web.url}/g", horse="horse", donkey="donkey")
    assert [each.title for each in walk(site)] == ["DSC_1", "Horses"]
    assert [each.title for each in walk(site, "donkey")] == ["A donkey", "DSC_1"]


def test_an_endless_site_ends_with_the_pages_that_bring_nothing_new(make_workspace: MakeWorkspace, web: Web) -> None:
    web.gallery("/g", range(2), more='<a href="/calendar/0">calendar</a>')

    def calendar(path: str) -> tuple[int, dict[str, str], bytes] | None:
        if not path.startswith("/calendar/"):
            return None
        day = int(path.rsplit("/", 1)[-1])
        links = "".join(f'<a href="/calendar/{each}">{each}</a>' for each in range(2 * day + 1, 2 * day + 12))
        return 200, {"Content-Type": "text/html"}, f'<img src="/img/horse0.jpg">{links}'.encode()

    web.otherwise = calendar
    site = spider(make_workspace(settings(web, site="depth = 50\npages = 500")), f"{web.url}/g")
    assert len(walk(site)) == 2
    assert web.requests.total() == 1 + BARREN
    assert f"{BARREN} pages in a row" in site.job.notes["site"][0]
    web.requests.clear()
    site = spider(make_workspace(settings(web, site="depth = 50\npages = 7"), name="other"), f"{web.url}/g")
    walk(site)
    assert web.requests.total() == 7
    assert "sources.site.pages" in site.job.notes["site"][0]
    web.requests.clear()
    site = spider(make_workspace(settings(web, site="depth = 1"), name="third"), f"{web.url}/g")
    walk(site)
    assert set(web.requests) == {"/g", "/calendar/0"}


def test_a_direct_address_of_a_picture_is_a_page_with_one_picture(make_workspace: MakeWorkspace, web: Web) -> None:
    web.picture("/a-horse.jpg", 1)
    found = walk(spider(make_workspace(settings(web)), f"{web.url}/a-horse.jpg"))
    assert [(each.url, each.title, each.license.code) for each in found] == [
        (f"{web.url}/a-horse.jpg", "a horse jpg", "missing")
    ]


def test_what_is_no_page_is_passed_over(make_workspace: MakeWorkspace, web: Web) -> None:
    web.page("/", '<a href="/data">x</a><a href="/gone">x</a><a href="/latin">x</a><img src="/1.jpg">')
    web.pages["/data"] = (200, {"Content-Type": "application/octet-stream"}, b"\0" * 100)
    web.pages["/latin"] = (200, {"Content-Type": "text/html; charset=latin-1"}, b'<img src="/2.jpg" alt="Horse \xe9">')
    site = spider(make_workspace(settings(web)), f"{web.url}/")
    assert [each.title for each in walk(site)] == ["/", "Horse é"]
    assert site.unread == {"not-html": 1, "dead-link": 1}
    with pytest.raises(SourceDown, match="/gone cannot be read: HTTP 404"):
        walk(spider(site.job.ws, f"{web.url}/gone"))


def test_a_page_is_asked_again_whether_its_license_still_holds(make_workspace: MakeWorkspace, web: Web) -> None:
    web.gallery("/g", range(2))
    site = spider(make_workspace(settings(web)), f"{web.url}/g")
    found = walk(site)[0]
    assert asyncio.run(site.recheck(found)) == found
    web.gallery("/g", range(2), license="https://creativecommons.org/licenses/by-nc/4.0/")
    now = asyncio.run(site.recheck(found))
    assert now is not None
    assert now.license.code == "by-nc"
    web.page("/g", '<img src="/img/horse0.jpg">')
    web.picture("/img/horse0.jpg", 0, file(xmp(LICENSE)))
    now = asyncio.run(site.recheck(found))
    assert now is not None
    assert now.license.evidence == f"cc:license='{BY}'"
    web.page("/g", "nothing")
    assert asyncio.run(site.recheck(found)) is None
    del web.pages["/g"]
    with pytest.raises(Gone):
        asyncio.run(site.recheck(found))


def test_a_frontier_is_kept_as_json_and_holds_no_more_than_can_be_read() -> None:
    frontier = Frontier(10)
    frontier.add(frontier.near, ["https://example.org/"], 0, named=True)
    assert frontier.turn() is not None
    frontier.open = None
    frontier.add(frontier.far, ["https://example.org/?b=1&a=2", "https://example.org/?a=2&b=1#x"], 1)
    assert len(frontier.far) == 1
    frontier.add(frontier.far, [f"https://example.org/{number}" for number in range(1000)], 1)
    assert len(frontier.far) == 9
    assert Frontier.load(10, frontier.dump()).dump() == frontier.dump()


# -- crawling ---------------------------------------------------------------------------------------------------------


def test_the_limit_is_exact_and_no_page_is_read_beyond_it(make_workspace: MakeWorkspace, web: Web) -> None:
    for number in range(20):
        more = f'<a rel="next" href="/g/{number + 1}">next</a>'
        web.gallery(f"/g/{number}", range(5 * number, 5 * number + 5), more=more)
    summary = look(make_workspace(settings(web)), f"{web.url}/g/0", limit=12)
    assert adds_up(summary)
    assert (summary.kept, summary.licenses) == (12, {"by": 12})
    assert not [path for path in web.requests if path.startswith("/g/") and int(path[3:]) > 5]


def test_wishes_of_pages_links_and_files_are_obeyed(make_workspace: MakeWorkspace, web: Web) -> None:
    web.pages["/robots.txt"] = (200, {"Content-Type": "text/plain"}, b"User-agent: *\nDisallow: /private\n")
    links = ("/noai", "/tdm", "/header", "/nofollow", "/private/1", "/open")
    web.page("/", "".join(f'<a href="{each}">horses</a>' for each in links) + '<a rel="nofollow" href="/hidden">x</a>')
    web.gallery("/noai", range(2), more='<meta name="robots" content="noimageai">')
    web.gallery("/tdm", range(2, 4), more='<meta name="tdm-reservation" content="1">')
    web.gallery("/header", range(4, 6))
    web.pages["/header"] = (200, {"Content-Type": "text/html", "X-Robots-Tag": "noai"}, web.pages["/header"][2])
    web.gallery("/nofollow", range(6, 8), more='<meta name="robots" content="nofollow"><a href="/beyond">horses</a>')
    web.gallery("/private/1", range(8, 10))
    web.gallery("/open", range(10, 13))
    wish = xmp(LICENSE, 'plus:DataMining="http://ns.useplus.org/ldf/vocab/DMI-PROHIBITED"')
    web.picture("/img/horse12.jpg", 12, file(wish))
    ws = make_workspace(settings(web))
    summary = look(ws, f"{web.url}/")
    assert adds_up(summary)
    assert (summary.kept, summary.rejected) == (4, {"opted-out": 5})
    assert sorted(path for path in web.requests if path.startswith("/img")) == [
        f"/img/horse{number}.jpg" for number in (10, 11, 12, 6, 7)
    ]
    assert not {"/hidden", "/beyond", "/private/1"} & set(web.requests)
    told = " ".join(ws.catalog.frame("rejections")["detail"])
    assert (told.count("noimageai"), told.count("tdm-reservation"), told.count("plus:DataMining")) == (2, 2, 1)


def test_a_picture_without_a_license_on_its_page_is_judged_by_its_file(make_workspace: MakeWorkspace, web: Web) -> None:
    web.page("/g", "".join(f'<img src="/{name}.jpg">' for name in ("says", "silent", "sold", "agency")))
    web.gallery("/h", range(1))
    web.picture("/img/horse0.jpg", 5, file(iptc={116: "(c) Somebody. All rights reserved."}))
    web.picture("/says.jpg", 0, file(xmp(LICENSE + people("Anna"))))
    web.picture("/silent.jpg", 1)
    web.picture("/sold.jpg", 2, file(xmp('<cc:license rdf:resource="https://example.org/buy"/>')))
    web.picture("/agency.jpg", 3, file(xmp(LICENSE), iptc={110: "Getty Images"}))
    ws = make_workspace(settings(web))
    summary = look(ws, f"{web.url}/g", f"{web.url}/h")
    assert adds_up(summary)
    assert summary.licenses == {"by": 1}
    assert summary.rejected == {"license-missing": 1, "license-unknown": 1, "license-contradictory": 2}
    assert ws.catalog.frame("sightings")["license_evidence"].tolist() == [f"cc:license='{BY}'"]


def test_a_killed_crawl_goes_on_where_it_was(make_workspace: MakeWorkspace, web: Web) -> None:
    for number in range(12):
        more = f'<a rel="next" href="/g/{number + 1}">next</a>' if number < 11 else ""
        web.gallery(f"/g/{number}", range(4 * number, 4 * number + 4), more=more)
    web.delay = 0.03
    ws = make_workspace(settings(web).replace("per_host = 16", "per_host = 2"))
    code = "import sys; from collector.workspace import Workspace; from collector.spiders.runner import crawl; "
    code += "crawl(Workspace.open(sys.argv[1]), 'horse', url=[sys.argv[2]], limit=500)"
    command = [sys.executable, "-c", code, str(ws.settings.path), f"{web.url}/g/0"]
    child = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while sum(path.startswith("/img") for path in web.requests) < 20 and child.poll() is None:
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()
    time.sleep(0.5)  # the crawling process ends with its parent
    stored = {url.removeprefix(web.url) for url in ws.catalog.frame("sightings")["url"]}
    assert 0 < len(stored) < 48
    before = Counter(web.requests)
    assert look(ws, f"{web.url}/g/0").kept == 48
    assert not [path for path in stored if web.requests[path] > before[path]]
    assert web.requests["/g/0"] == before["/g/0"]  # its cursor was kept


def test_bad_input_is_one_sentence(make_workspace: MakeWorkspace, web: Web) -> None:
    ws = make_workspace(settings(web))
    for wrong in ("ftp://example.org/", "horses.html", "http://["):
        with pytest.raises(UsageError, match="not the address of a page"):
            spider(ws, wrong).addresses()
    with pytest.raises(UsageError, match="needs a page"):
        spider(ws).addresses()
    web.gallery("/g", range(2))
    web.pages["/robots.txt"] = (200, {"Content-Type": "text/plain"}, b"User-agent: collect\nDisallow: /g\n")
    with pytest.raises(ServiceDown, match=r"robots\.txt"):
        look(ws, f"{web.url}/g")
    assert web.requests["/g"] == 0
