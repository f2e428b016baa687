"""How the crawl treats hosts: what it asks for, how often, how much at once, and what it leaves alone."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from collector.config import Settings
from collector.errors import UsageError
from collector.spiders.config import CrawlConfig
from collector.spiders.runner import crawl
from pipelines.demo.site import Answer, Site
from tests.collector.crawls import MakeWorkspace, pictures, settings
from tests.collector.manners import CHUNK, Asked, Asker, Host, Reply

PICTURE = Reply(body=b"picture")


@pytest.fixture(scope="module")
def ask() -> Iterator[Asker]:
    with Asker() as asker:
        yield asker


def robots(text: str, **more: object) -> Reply:
    return Reply(200, {"Content-Type": "text/plain"}, text.encode())


def words(results: list[dict[str, Any]]) -> list[Any]:
    return [each.get("reason", each.get("status")) for each in results]


def gaps(asked: list[Asked]) -> list[float]:
    return [later.at - earlier.at for earlier, later in pairwise(asked)]


# -- robots.txt -----------------------------------------------------------------------------------------------------


def test_robots_is_asked_once_for_each_host_and_remembered_by_the_next_run(ask: Asker, tmp_path: Path) -> None:
    def replies(path: str) -> Reply:
        return robots("User-agent: *\nDisallow: /private/") if path == "/robots.txt" else PICTURE

    with Host(replies) as host:
        orders = [{"url": host.url(f"/{kind}/{n}")} for n in range(6) for kind in ("open", "private")]
        other = [{"url": host.url("/private/other", "127.0.0.2")}]
        first = ask(orders, orders + other, data=tmp_path)
        assert words(first) == [200, "robots"] * 12 + ["robots"]
        assert "robots.txt of http://127.0.0.1" in str(first[1]["detail"])
        assert host.paths().count("/robots.txt") == 2
        assert host.paths().count("/.well-known/tdmrep.json") == 2
        assert not [path for path in host.paths() if path.startswith("/private/")]

        host.asked.clear()
        assert words(ask(orders, data=tmp_path)) == [200, "robots"] * 6
        assert set(host.paths()) == {f"/open/{n}" for n in range(6)}


def test_robots_that_cannot_be_had_forbids_and_robots_that_is_missing_allows(ask: Asker) -> None:
    answers = {
        "127.0.0.1": (Reply(503), "robots-unreachable"),
        "127.0.0.2": (Reply(403), 200),
        "127.0.0.3": (Reply(302, {"Location": "/robots.txt?again"}), "robots-unreachable"),
        "localhost": (Reply(429, {"Retry-After": "9000"}), "robots-unreachable"),
    }

    def host(reply: Reply) -> Host:
        return Host(lambda path: reply if "robots" in path else PICTURE)

    hosts = [host(reply) for reply, _ in answers.values()]
    slow = host(Reply(200, {}, b"User-agent: *", wait=9))
    with hosts[0], hosts[1], hosts[2], hosts[3], slow:
        orders = [{"url": each.url("/1", address)} for each, address in zip(hosts, answers, strict=True)]
        results = ask([*orders, {"url": slow.url("/1")}], retries=0, timeout=2.5)
        assert words(results) == [*(expected for _, expected in answers.values()), "robots-unreachable"]
        assert "HTTP 503" in str(results[0]["detail"])
        assert hosts[2].paths().count("/robots.txt?again") == 5  # RFC 9309: five redirects, not more
        assert sum("/1" in each.paths() for each in (*hosts, slow)) == 1


def test_five_hundred_kibibytes_of_robots_are_read(ask: Asker) -> None:
    filler = "# nothing\n" * 51_197  # the next line ends before 512,000 bytes, the one after it does not
    text = f"User-agent: *\n{filler}Disallow: /a\nDisallow: /b\n"
    assert text.index("/b") > 512_000 > text.index("/a")
    with Host(lambda path: robots(text) if path == "/robots.txt" else PICTURE) as host:
        assert words(ask([{"url": host.url("/a")}, {"url": host.url("/b")}])) == ["robots", 200]


def test_crawl_delay_is_kept_by_all_spiders_together(ask: Asker) -> None:
    text = "User-agent: *\nCrawl-delay: 0.4"
    with Host(lambda path: robots(text) if path == "/robots.txt" else PICTURE) as host:
        orders = [{"url": host.url(f"/{n}")} for n in range(3)]
        assert words(ask(orders, orders)) == [200] * 6
        pictures = [each for each in host.asked if len(each.path) == 2]
        assert min(gaps(pictures)) > 0.25
    with Host(lambda path: robots("User-agent: *\nCrawl-delay: 86400")) as host:
        assert words(ask([{"url": host.url("/1")}])) == ["busy"]


# -- opt-outs -------------------------------------------------------------------------------------------------------

SIGNALS = {
    "/noai": {"X-Robots-Tag": "NoAI"},
    "/agent": {"X-Robots-Tag": "googlebot: nofollow, otherbot :  noimageai"},
    "/none": {"x-robots-tag": "none"},
    "/past": {"X-Robots-Tag": "unavailable_after: Fri, 25 Jun 2010 15:00:00 GMT"},
    "/tdm": {"TDM-Reservation": "1"},
    "/usage": {"Content-Usage": "search=y, train-ai=n"},
}
FREE = {
    "/free": {"X-Robots-Tag": "nofollow, max-image-preview:none", "tdm-reservation": "0"},
    "/later": {"X-Robots-Tag": "unavailable_after: 2999-01-01"},
    "/train": {"Content-Usage": "train-ai=y"},
}


def test_opted_out_pictures_are_refused_before_their_body(ask: Asker) -> None:
    body = bytes(20 * CHUNK)
    replies = {path: Reply(200, headers, body, wait=0.05) for path, headers in SIGNALS.items()}
    replies |= {path: Reply(200, headers, b"free") for path, headers in FREE.items()}
    with Host(replies) as host:
        # an API's answer is no picture; and this is what a whole body counts
        assert words(ask([{"url": host.url("/noai"), "meta": {}}])) == [200]
        assert host.body_bytes == len(body)
        host.body_bytes = 0
        orders = [{"url": host.url(path)} for path in (*SIGNALS, *FREE)]
        page = {"url": host.url("/noai"), "meta": {"page": True}}
        results = ask([*orders, page], per_host=16)
        assert words(results) == ["opted-out"] * 6 + [200] * 3 + ["opted-out"]
        assert results[1]["detail"] == "X-Robots-Tag: googlebot: nofollow, otherbot :  noimageai"
        assert results[4]["detail"] == "tdm-reservation: 1"
        assert host.body_bytes < 7 * 10 * CHUNK  # of 20 each: some are on their way when we hang up


def test_an_error_page_with_an_opt_out_is_an_error_page(ask: Asker) -> None:
    noindex = {"X-Robots-Tag": "noindex"}
    replies = {"/gone": Reply(404, noindex), "/moved": Reply(301, {**noindex, "Location": "/1"}), "/1": PICTURE}
    with Host(replies) as host:
        assert words(ask([{"url": host.url("/gone")}, {"url": host.url("/moved")}])) == [404, 200]


def test_files_of_a_host_opt_out_and_the_header_overrides_tdmrep(ask: Asker) -> None:
    rules = [{"location": "/free/*", "tdm-reservation": 0}, {"location": "/", "tdm-reservation": 1}]
    replies = {
        "/robots.txt": robots("User-agent: *\nAllow: /\nContent-Usage: /art/ train-ai=n\n"),
        "/.well-known/tdmrep.json": Reply(200, {}, json.dumps(rules).encode()),
        "/1": PICTURE,
        "/art/1": PICTURE,
        "/2": Reply(200, {"tdm-reservation": "0"}, b"free"),
    }
    with Host(replies) as host:
        results = ask([{"url": host.url(path)} for path in ("/1", "/art/1", "/2")])
        assert words(results) == ["opted-out", "opted-out", 200]
        assert results[0]["detail"] == 'tdmrep.json: {"location": "/", "tdm-reservation": 1}'
        assert results[1]["detail"] == "robots.txt: Content-Usage: /art/ train-ai=n"
        assert "/art/1" not in host.paths()


# -- pauses ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("as_date", [False, True])
def test_a_host_that_asks_for_a_pause_gets_it_from_every_spider(ask: Asker, as_date: bool) -> None:
    busy: list[float] = []

    def replies(path: str) -> Reply:
        if path == "/busy" and not busy:
            busy.append(time.monotonic())
            date = format_datetime(datetime.now(UTC) + timedelta(seconds=3), usegmt=True)  # whole seconds: 2 to 3
            return Reply(429, {"Retry-After": date if as_date else "2"})
        return PICTURE if path[1:].isdigit() or path == "/busy" else Reply(404)

    with Host(replies) as host:
        one: list[dict[str, Any]] = [{"url": host.url("/0")}, {"url": host.url("/busy"), "after": 0.3}]
        other = [{"url": host.url(f"/{n}"), "after": 0.5 + n / 10} for n in range(1, 9)]
        assert words(ask(one, other)) == [200] * 10
        after = [each.at - busy[0] for each in host.asked if each.at > busy[0] + 0.05]
        assert 1.95 < min(after) < 6
        assert host.paths().count("/busy") == 2


def test_a_pause_beyond_patience_is_not_waited_for_and_nonsense_is_no_pause(ask: Asker) -> None:
    never = Host(lambda path: Reply(429, {"Retry-After": "1000000000"}) if path == "/1" else Reply(404))
    negative = Host(lambda path: Reply(503, {"Retry-After": "-5"}) if path == "/1" else Reply(404))
    with never, negative:
        both: list[dict[str, Any]] = [{"url": never.url("/1")}, {"url": never.url("/2"), "after": 1.0}]
        results = ask([*both, {"url": negative.url("/1", "127.0.0.2")}], retries=1)
        assert words(results) == ["busy", "busy", 503]
        assert re.search(r"asks to be left alone for (999999\d\d\d|1000000000) s", results[0]["detail"])
        assert never.paths().count("/1") == 1
        assert "/2" not in never.paths()
        assert negative.paths().count("/1") == 2


def test_who_waits_to_repeat_takes_nobodys_place(ask: Asker) -> None:
    with Host(lambda path: Reply(500) if path == "/bad" else PICTURE if path[1:].isdigit() else Reply(404)) as host:
        orders: list[dict[str, Any]] = [
            {"url": host.url("/bad")},
            *({"url": host.url(f"/{n}"), "after": 0.2} for n in range(5)),
        ]
        assert words(ask(orders, per_host=1, retries=2)) == [500] + [200] * 5
        bad = [number for number, path in enumerate(host.paths()) if path == "/bad"]
        assert len(bad) == 3
        assert {f"/{n}" for n in range(5)} <= set(host.paths()[: bad[-1]])
        first, second = gaps([each for each in host.asked if each.path == "/bad"])
        assert first > 0.25
        assert second > 0.5  # twice as long; each is spread by a half


# -- how much at once -----------------------------------------------------------------------------------------------


def test_a_host_has_one_budget_however_many_spiders_ask(ask: Asker) -> None:
    slots = {"127.0.0.2": {"concurrency": 2}}
    with Host(lambda path: Reply(200, {}, b"x", wait=0.05) if "a" in path else Reply(404)) as host:
        four = [{"url": host.url(f"/a{n}")} for n in range(12)]
        two = [{"url": host.url(f"/a{n}", "127.0.0.2")} for n in range(8)]
        assert words(ask(four + two, four + two, slots=slots)) == [200] * 40
        assert host.busiest("127.0.0.1") == 4
        assert host.busiest("127.0.0.2") == 2
        host.asked.clear()
        assert words(ask(two, [], slots=slots)) == [200] * 8  # one spider alone has all of it
        assert host.busiest("127.0.0.2") == 2


def test_a_redirect_counts_where_it_leads(ask: Asker) -> None:
    def replies(path: str) -> Reply:
        number = path.rpartition("/")[2]
        if path.startswith("/to/"):
            return Reply(302, {"Location": host.url(f"/file/{number}", "127.0.0.2")})
        return Reply(200, {}, b"x", wait=0.05) if path.startswith("/file/") else Reply(404)

    with Host(replies) as host:
        orders = [{"url": host.url(f"/to/{n}")} for n in range(12)]
        assert words(ask(orders, slots={"127.0.0.2": {"concurrency": 2}})) == [200] * 12
        assert host.busiest("127.0.0.2") == 2


def test_who_gives_up_gives_the_place_back(ask: Asker) -> None:
    with Host(lambda path: Reply(200, {}, b"x", wait=0.5) if "slow" in path else Reply(404)) as host:
        slow = [{"url": host.url(f"/slow{n}"), "after": 1, "give_up": 0.2} for n in range(3)]
        results = ask([{"url": host.url("/0")}, *slow, {"url": host.url("/1"), "after": 1.1}], per_host=1)
        assert words(results) == [404, *["connection"] * 3, 404]
        assert sum("slow" in path for path in host.paths()) == 1  # the others had not even begun


def test_all_hosts_together_have_the_budget_of_the_crawl(ask: Asker) -> None:
    with Host(lambda path: Reply(200, {}, b"x", wait=0.05) if "a" in path else Reply(404)) as host:
        orders = [{"url": host.url(f"/a{n}", f"127.0.0.{1 + n % 3}")} for n in range(18)]
        assert words(ask(orders, orders, concurrency=3)) == [200] * 36
        # hosts count for themselves; what all have at once is seen by the moments of arrival
        arrived = sorted(each.at for each in host.asked if "a" in each.path)
        assert arrived[-1] - arrived[0] >= 0.05 * (36 / 3 - 2)


def test_a_host_that_cannot_bear_it_is_asked_less(ask: Asker) -> None:
    refused: list[str] = []

    def replies(path: str) -> Reply:
        if "a" in path and len(host.here[f"127.0.0.1:{host.port}"]) > 3:
            refused.append(path)
            return Reply(503, {"Retry-After": "0"})
        return Reply(200, {}, b"x", wait=0.02) if "a" in path else Reply(404)

    with Host(replies) as host:
        orders = [{"url": host.url(f"/a{n}")} for n in range(150)]
        assert words(ask(orders, per_host=16, concurrency=64, retries=10)) == [200] * 150
        assert 0 < len(refused) < 40  # of 150; with 16 at once nearly all would be


def test_an_api_is_asked_no_faster_than_it_says_and_no_more_when_nothing_is_left(ask: Asker) -> None:
    marks = {"dont_obey_robotstxt": True, "download_slot": "some API"}

    def replies(path: str) -> Reply:
        left = {"x-ratelimit-limit-day": "200/day", "x-ratelimit-available-day": "0"} if path == "/5" else {}
        return Reply(200, {"x-ratelimit-limit-burst": "2/sec", "x-ratelimit-available-burst": "2", **left}, b"{}")

    with Host(replies) as host:
        orders = [{"url": host.url(f"/{n}"), "meta": marks} for n in range(8)]
        assert words(ask(orders, slots={"127.0.0.1": {"concurrency": 1}})) == [200] * 6 + ["busy"] * 2
        assert host.busiest() == 1  # an API has the budget of its host
        third = zip(host.asked, host.asked[2:], strict=False)
        assert min(later.at - earlier.at for earlier, later in third) > 0.7


# -- proxies --------------------------------------------------------------------------------------------------------


def test_hosts_keep_their_proxy_and_a_dead_one_is_left_out(ask: Asker, tmp_path: Path) -> None:
    with Host({}) as closed:
        dead = closed.url("", "127.0.0.3").replace("//", "//me:hidden@")
    many = range(24)  # a host goes to either of two ports, as their numbers fall: all to one once in 8 million runs
    reply = {f"http://h{n}.example/1": PICTURE for n in many} | {"/direct": PICTURE}
    with Host(reply) as one, Host(reply) as two:
        proxies = [one.url("").replace("//", "//me:hidden@"), two.url(""), dead]
        hosts = [{"url": f"http://h{n}.example/1", "after": 0.3 * (n > 3)} for n in many]
        results = ask([*hosts, {"url": one.url("/direct")}], proxies=proxies, data=tmp_path)
        assert words(results) == [200] * 25
        by = [{each.headers["Host"] for each in proxy.asked if "example" in each.path} for proxy in (one, two)]
        assert all(by)
        assert not by[0] & by[1]
        assert {each.headers.get("Proxy-Authorization") for each in one.asked} == {"Basic bWU6aGlkZGVu", None}
        assert "/direct" in one.paths()  # private hosts are asked without a proxy

        results = ask([{"url": "http://h1.example/1"}], proxies=[dead], data=tmp_path, retries=2)
        assert words(results) == ["connection"]
        assert "no proxy of crawl.proxies can be reached" in str(results[0]["detail"])
        assert "hidden" not in str(results) + (tmp_path / "crawl.log").read_text()


def test_the_password_of_a_proxy_is_in_no_error_of_the_settings() -> None:
    wrong = Settings(Path("config.toml"), {"crawl": {"proxies": ["socks5://me:hidden@proxy.example"]}})
    with pytest.raises(UsageError, match=re.escape("socks5://***@proxy.example")) as told:
        wrong.section(CrawlConfig)
    assert "hidden" not in told.value.message


# -- the cache of searches ------------------------------------------------------------------------------------------


def test_a_search_is_asked_once_and_its_key_is_kept_nowhere(ask: Asker, tmp_path: Path) -> None:
    answer = Reply(200, {"Content-Type": "application/json"}, b'{"apikey": "s3cr3t", "found": 3}')
    with Host(lambda path: answer if path.startswith("/search") else Reply(500)) as host:
        marks = {"search": True, "secret": ["key"], "dont_obey_robotstxt": True}
        order = {"url": host.url("/search?q=horse&key=s3cr3t"), "meta": marks}
        first, again = (ask([order], data=tmp_path)[0] for _ in range(2))
        assert first["body"] == answer.body.decode()
        assert again["body"] == '{"apikey": "***", "found": 3}'
        other_key = {**order, "url": host.url("/search?q=horse&key=other")}
        assert ask([other_key], data=tmp_path)[0]["body"] == again["body"]
        assert len(host.asked) == 1
        ask([order], data=tmp_path, cache_hours=0)
        ask([order], data=tmp_path, cache_hours=1e-7)  # a third of a millisecond: too old
        ask([{**order, "url": host.url("/search?q=pony&key=s3cr3t")}], data=tmp_path)
        ask([{**order, "meta": {"dont_obey_robotstxt": True}}], data=tmp_path)
        assert len(host.asked) == 5
        kept = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
        assert kept
        assert not [data for data in kept if b"s3cr3t" in data]


def test_a_kept_page_is_where_its_redirects_led(ask: Asker, tmp_path: Path) -> None:
    with Host({"/old": Reply(301, {"Location": "/new/"}), "/new/": Reply(200, {}, b"<a href=1.jpg>")}) as host:
        order = {"url": host.url("/old"), "meta": {"page": True, "search": True}}
        for _ in range(2):
            assert ask([order], data=tmp_path)[0]["led_to"] == host.url("/new/")
        assert host.paths().count("/new/") == 1


def test_failures_are_not_kept_and_a_torn_entry_is_asked_for_again(ask: Asker, tmp_path: Path) -> None:
    replies = {"/search?q=1": Reply(500), "/search?q=2": Reply(200, {}, b"{}" * 100)}
    with Host(replies) as host:
        orders = [{"url": host.url(path), "meta": {"search": True, "dont_obey_robotstxt": True}} for path in replies]
        assert words(ask(orders, data=tmp_path, retries=0)) == [500, 200]
        entries = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
        assert len(entries) == 1
        entries[0].write_bytes(entries[0].read_bytes()[:-9])
        assert words(ask(orders, data=tmp_path, retries=0)) == [500, 200]
        assert words(ask(orders, data=tmp_path, retries=0)) == [500, 200]
        assert host.paths().count("/search?q=1") == 3
        assert host.paths().count("/search?q=2") == 2


def test_a_dry_run_and_the_crawl_after_it_ask_the_api_once(make_workspace: MakeWorkspace) -> None:
    asked: list[str] = []

    class Counting(Site):
        def answer(self, target: str, user_agent: str) -> Answer:
            asked.append(target)
            return super().answer(target, user_agent)

    with Counting(pictures(12)) as site:
        ws = make_workspace(settings(site.url).replace("cache_hours = 0", ""))
        planned = crawl(ws, "horse", limit=5, dry_run=True).planned
        searches = list(asked)
        assert planned
        assert searches
        crawl(ws, "horse", limit=5)
        assert [target for target in asked if target in searches] == searches
        assert len(asked) > len(searches)
