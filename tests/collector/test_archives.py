"""Public archives: fetched once, unpacked whole or not at all, and nothing outside their folder."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from collector import archives, wordnet
from collector.archives import unpacked
from collector.errors import ServiceDown, UsageError
from collector.negatives import negatives
from collector.workspace import Workspace
from pipelines.machine import WORDNET
from tests.collector.test_dedup import keep
from tests.conftest import jpeg, need


class Site:
    """A folder on loopback."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.url = folder, url

    def archive(self, name: str, members: dict[str, bytes]) -> str:
        """The address of a zip file with these members."""
        with zipfile.ZipFile(self.folder / name, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
            for member, data in members.items():
                file.writestr(member, data)
        return f"{self.url}/{name}"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    folder = tmp_path / "site"
    folder.mkdir()
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    handler.log_message = lambda *_: None  # type: ignore[attr-defined]
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield Site(folder, f"http://127.0.0.1:{server.server_port}")
        server.shutdown()


def is_text(name: str) -> bool:
    return name.endswith(".txt")


def test_what_is_wanted_is_unpacked_once(ws: Workspace, site: Site) -> None:
    url = site.archive("a.zip", {"deep/one.txt": b"1", "two.txt": b"2", "three.jpg": b"3"})
    folder = unpacked(ws, "set", url, is_text, "")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {"one.txt": b"1", "two.txt": b"2"}
    (site.folder / "a.zip").unlink()
    assert unpacked(ws, "set", url, is_text, "") == folder


def test_nothing_is_written_outside_of_the_folder(ws: Workspace, site: Site) -> None:
    url = site.archive("a.zip", {"../../evil.txt": b"1", "/etc/evil2.txt": b"2", "good.txt": b"3"})
    folder = unpacked(ws, "set", url, is_text, "")
    assert sorted(path.name for path in folder.iterdir()) == ["evil.txt", "evil2.txt", "good.txt"]
    assert not list(ws.root.glob("evil*"))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b"<html>no</html>"),
        lambda path: path.write_bytes(path.read_bytes()[:-30]),
        lambda path: path.write_bytes(path.read_bytes().replace(b"aaaa", b"aaba")),
    ],
    ids=["gone", "no archive", "cut off", "damaged"],
)
def test_an_archive_that_is_not_as_it_should_be_leaves_nothing(
    ws: Workspace, site: Site, spoil: Callable[[Path], object]
) -> None:
    with zipfile.ZipFile(site.folder / "a.zip", "w") as file:
        file.writestr("one.txt", b"a" * 1000)
    spoil(site.folder / "a.zip")
    with pytest.raises(ServiceDown, match=r"set cannot be fetched from http.*a\.zip") as caught:
        unpacked(ws, "set", f"{site.url}/a.zip", is_text, "do without")
    assert caught.value.hint == "do without"
    assert not list(ws.data.glob("set*"))


def test_an_archive_without_what_is_wanted_is_refused(ws: Workspace, site: Site) -> None:
    with pytest.raises(ServiceDown, match="0 of its files"):
        unpacked(ws, "set", site.archive("a.zip", {"one.jpg": b"1"}), is_text, "")


def test_an_archive_that_is_too_large_is_refused(ws: Workspace, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MOST_BYTES", 15_000)
    with pytest.raises(ServiceDown, match="too large"):
        unpacked(ws, "set", site.archive("bomb.zip", {"one.txt": bytes(20_000)}), is_text, "")
    assert not list(ws.data.glob("set*"))


def test_no_server_is_one_sentence(ws: Workspace) -> None:
    for address in ("http://127.0.0.1:9/a.zip", "ftp://x/a.zip", "http://[", ""):
        with pytest.raises(ServiceDown, match="set cannot be fetched"):
            unpacked(ws, "set", address, is_text, "")


def test_wordnet_is_fetched_where_it_is_needed_and_not_installed(
    make_workspace: Callable[..., Workspace], site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    place = Path(need(WORDNET))
    monkeypatch.setattr(wordnet, "PLACES", ())
    monkeypatch.delenv("WNHOME", raising=False)
    url = site.archive("wordnet.zip", {f"wordnet/{name}": (place / name).read_bytes() for name in wordnet.FILES})
    folder = tmp_path / "others"
    folder.mkdir()
    for n, wnid in enumerate(["n02391049", "n01887787"]):  # a zebra, and a cow of a class that ImageN does not have
        (folder / f"{wnid}_{n}_animal.jpg").write_bytes(jpeg(50 + n))
    ws = make_workspace(f'[negatives]\nwordnet_archive = "{url}"\n')
    keep(ws, jpeg(1), "1")
    assert negatives(ws, "horse", folder=folder, ratio=2).synsets == {"horse": "n02374451"}
    assert not (ws.data / "wordnet").exists()  # the small table knows horses
    ws.concept("pony", create=True)
    assert negatives(ws, "pony", folder=folder).synsets == {"pony": "n02380335"}
    assert (ws.data / "wordnet" / "data.noun").is_file()


def test_without_wordnet_an_unknown_word_is_refused_with_the_way_out(
    make_workspace: Callable[..., Workspace], site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(wordnet, "PLACES", ())
    monkeypatch.delenv("WNHOME", raising=False)
    (tmp_path / "n02391049_1_zebra.jpg").write_bytes(jpeg(50))
    for address in (f"{site.url}/gone.zip", ""):
        ws = make_workspace(f'[negatives]\nwordnet_archive = "{address}"\n')
        ws.concept("pony", create=True)
        with pytest.raises(UsageError, match="no WordNet synset is known for `pony`") as caught:
            negatives(ws, "pony", folder=tmp_path)
        assert "synsets" in caught.value.hint
