"""What may not be given away any more, and a disk that is full."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from collector.catalog import sightings
from collector.errors import CollectError
from collector.intake import take_in
from collector.records import License
from collector.workspace import Workspace
from pipelines.export import export
from pipelines.export.records import Options
from pipelines.manifest import find, read_manifest
from tests.conftest import REPOSITORY
from tests.pipelines.exported import copied, world
from tests.pipelines.test_export import files

__all__ = ["world"]
ALL = Options("csv", (), shard_size=10)


def test_what_its_source_withdrew_or_relicensed_since_is_left_out_and_said(world: Workspace, tmp_path: Path) -> None:
    with copied(world, tmp_path / "ws") as ws:
        rows = {row.image: row.split for row in read_manifest(ws, find(ws, "horse")).rows}
        before = export(ws, tmp_path / "before", ALL)
        seen = {each.image: each for each in sightings.latest(ws.catalog, "horse")}
        gone, other, twice, dead = [image for image in sorted(rows) if rows[image] == "train"][:4]
        closed = replace(seen[other].found, license=License("arr", evidence="all rights reserved"))
        sightings.revise(ws.catalog, seen[gone], seen[gone].found, "withdrawn")
        sightings.revise(ws.catalog, seen[other], closed, "license-changed")
        sightings.revise(ws.catalog, seen[twice], seen[twice].found, "withdrawn")
        elsewhere = replace(seen[twice].found, source="wikimedia", source_id="same")
        take_in(ws, ws.store.get(twice), elsewhere)  # another source still shows it
        sightings.revise(ws.catalog, seen[dead], seen[dead].found, "dead")  # its page is gone, its license stays
        after = export(ws, tmp_path / "after", ALL)
        assert after.left_out == {"license-changed": 1, "withdrawn": 1}
        assert after.images == before.images - 2
        listed = (tmp_path / "after" / "images.csv").read_text(encoding="utf-8")
        assert {image: image in listed for image in (gone, other, twice, dead)} == {
            gone: False, other: False, twice: True, dead: True
        }  # fmt: skip
        assert any("1 pictures of the snapshot were withdrawn by their source" in said for said in after.warnings)
        assert any("a license that `crawl.license` refuses" in said for said in after.warnings)
        assert "1 (withdrawn)" in (tmp_path / "after" / "README.md").read_text(encoding="utf-8")
        with pytest.raises(CollectError, match="forgotten, withdrawn or relicensed"):
            export(ws, tmp_path / "before", ALL)
        assert export(ws, tmp_path / "some", Options("csv", ("validation",))).left_out == {}


FULL = """
import resource, sys
from collector.errors import CollectError
from collector.store import Store
from collector.workspace import Workspace
from pipelines.export import export
from pipelines.export.records import Options

config, out, form, room = sys.argv[1:]

class Filling(Store):
    def get(self, image):
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(room), resource.RLIM_INFINITY))
        return super().get(image)

with Workspace.open(config, environ={}) as ws:
    ws.store = Filling(ws.store.root)
    try:
        export(ws, out, Options(form, (), shard_size=10))
    except CollectError as error:
        print(error.message, "|", error.hint)
"""


@pytest.mark.parametrize("form", ["imagefolder", "webdataset", "parquet"])
def test_a_full_disk_is_one_sentence_and_the_next_run_completes(world: Workspace, tmp_path: Path, form: str) -> None:
    options = Options(form, (), shard_size=10)
    export(world, tmp_path / "whole", options)
    sizes = {path: path.stat().st_size for path in (tmp_path / "whole").rglob("*") if path.is_file()}
    with copied(world, tmp_path / "ws"):
        pass  # closed again: only the child has it open
    out, config = tmp_path / "out", tmp_path / "ws" / "config.toml"
    for room in (max(sizes.values()) - 1, 1000):  # most of it fits, nothing does
        command = [sys.executable, "-c", FULL, str(config), str(out), form, str(room)]
        ended = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
        assert ended.returncode == 0, ended.stderr
        assert str(tmp_path) in ended.stdout
        assert len(ended.stdout.splitlines()) == 1
        assert not out.exists()
        assert not list(out.with_name("out.unfinished").rglob("*.tmp"))
    assert export(world, out, options).changed
    assert files(out) == files(tmp_path / "whole")
    assert not out.with_name("out.unfinished").exists()
