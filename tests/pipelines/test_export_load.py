"""Every format is loaded back by its own library: the same pictures, labels and splits."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from PIL import Image, ImageOps

from collector.decoding import upright_rgb
from collector.workspace import Workspace
from pipelines.export import FORMATS, export
from pipelines.export.names import folders
from pipelines.export.records import Options
from pipelines.manifest import find, read_manifest
from tests.conftest import REPOSITORY
from tests.pipelines.exported import LABELS, world

__all__ = ["world"]
pytestmark = [  # the libraries' own: files they leave open, and what they will remove one day
    pytest.mark.filterwarnings(f"ignore::{kind}")
    for kind in ("DeprecationWarning", "FutureWarning", "ResourceWarning", "pytest.PytestUnraisableExceptionWarning")
]


class Shown(NamedTuple):
    """What a reader must give for one picture."""

    split: str
    label: str
    size: tuple[int, int]
    pixels: bytes


def shown(split: str, label: str, picture: Image.Image) -> Shown:
    picture = ImageOps.exif_transpose(picture).convert("RGB")
    return Shown(split, label, picture.size, picture.tobytes())


@pytest.fixture(scope="module")
def expected(world: Workspace) -> dict[str, Shown]:
    """Beginning of the sha256 -> what is in the snapshot, from its original bytes."""
    wanted = {}
    for row in read_manifest(world, find(world, "horse")).rows:
        with Image.open(io.BytesIO(world.store.get(row.image))) as file:
            picture = upright_rgb(file)
        wanted[row.image[:16]] = Shown(row.split, row.label, picture.size, picture.tobytes())
    return wanted


@pytest.fixture(scope="module")
def exports(world: Workspace, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Format -> a folder that holds it."""
    top = tmp_path_factory.mktemp("exports")
    for form in FORMATS:
        export(world, top / form, Options(form, (), shard_size=10))
    return {form: top / form for form in FORMATS}


@pytest.fixture(autouse=True, scope="module")
def offline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """No library may ask the network; what they cache goes with the tests."""
    home = tmp_path_factory.mktemp("caches")
    told = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HOME": str(home),
            "CROISSANT_CACHE": str(home / "croissant"), "HF_DATASETS_CACHE": str(home / "datasets")}  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        for name, value in told.items():
            patch.setenv(name, value)
        yield home


SPLITS = ("train", "calibration", "validation")


def test_torchvision_reads_the_image_folder(exports: dict[str, Path], expected: dict[str, Shown]) -> None:
    from torchvision.datasets import ImageFolder

    names = {name: label for label, name in folders(LABELS).items()}
    read = {}
    for split in SPLITS:
        data = ImageFolder(str(exports["imagefolder"] / split), loader=Image.open, allow_empty=True)
        assert data.classes == sorted(names)
        for (path, number), (picture, _) in zip(data.samples, data, strict=True):
            read[Path(path).stem] = shown(split, names[data.classes[number]], picture)
    assert read == expected


def test_webdataset_reads_the_shards(exports: dict[str, Path], expected: dict[str, Shown]) -> None:
    import webdataset

    read = {}
    for split in SPLITS:
        shards = sorted(str(path) for path in exports["webdataset"].glob(f"{split}-*.tar"))
        for sample in webdataset.WebDataset(shards, shardshuffle=False).decode():
            (kind,) = {"jpg", "png", "webp"} & set(sample)
            label = LABELS[sample["cls"]]
            assert label == sample["json"]["label"]
            assert sample["json"]["split"] == split
            raw = sample[kind]
            read[sample["__key__"]] = shown(split, label, Image.open(io.BytesIO(raw)))
    assert read == expected


def test_datasets_reads_the_folder_and_the_bare_files(
    exports: dict[str, Path], expected: dict[str, Shown], offline: Path
) -> None:
    from datasets import ClassLabel, load_dataset
    from datasets import Image as ImageFeature

    bare = {split: str(exports["parquet"] / "data" / f"{split}-*.parquet") for split in SPLITS}
    for how, where in ((str(exports["parquet"]), None), ("parquet", bare)):
        loaded = load_dataset(how, data_files=where, cache_dir=str(offline / "datasets"))
        assert set(loaded) == set(SPLITS)
        read = {}
        for split, data in loaded.items():
            assert data.features["label"] == ClassLabel(names=list(LABELS))
            assert isinstance(data.features["image"], ImageFeature)
            for row in data:
                assert row["split"] == split
                read[row["sha256"][:16]] = shown(split, LABELS[row["label"]], row["image"])
        assert read == expected


@pytest.mark.parametrize("form", ["imagefolder", "webdataset"])
def test_datasets_finds_the_splits_of_other_formats_by_the_card(
    exports: dict[str, Path], expected: dict[str, Shown], offline: Path, form: str
) -> None:
    from datasets import load_dataset

    loaded = load_dataset(str(exports[form]), cache_dir=str(offline / "datasets"))
    counts = {split: sum(each.split == split for each in expected.values()) for split in SPLITS}
    assert {split: data.num_rows for split, data in loaded.items()} == counts


def test_pycocotools_reads_the_annotations(
    exports: dict[str, Path], expected: dict[str, Shown], capsys: pytest.CaptureFixture[str]
) -> None:
    from pycocotools.coco import COCO

    read = {}
    for split in SPLITS:
        data = COCO(str(exports["coco"] / "annotations" / f"{split}.json"))
        names = {each["id"]: each["name"] for each in data.loadCats(data.getCatIds())}
        assert list(names.values()) == list(LABELS)
        licenses = {each["id"]: each["url"] for each in data.dataset["licenses"]}
        for image in data.loadImgs(data.getImgIds()):
            (told,) = data.imgToAnns[image["id"]]
            path = exports["coco"] / "images" / split / image["file_name"]
            with Image.open(path) as file:
                found = shown(split, names[told["category_id"]], file)
            assert found.size == (image["width"], image["height"])
            assert licenses[image["license"]].startswith("https://creativecommons.org/")
            read[path.stem] = found
    assert read == expected


def test_pandas_reads_the_table(exports: dict[str, Path], expected: dict[str, Shown], world: Workspace) -> None:
    import pandas

    table = pandas.read_csv(exports["csv"] / "images.csv", keep_default_na=False)
    read = {}
    for row in table.itertuples():
        with Image.open(exports["csv"] / str(row.path)) as file:
            raw = upright_rgb(file)
        read[str(row.sha256)[:16]] = Shown(str(row.split), str(row.label), raw.size, raw.tobytes())
        assert not str(row.title).startswith("=")
    assert read == expected
    manifest = {row.image: row for row in read_manifest(world, find(world, "horse")).rows}
    assert set(table["license"]) == {"by-4.0", "cc0-1.0", "by-sa-3.0", "by-nc-nd-4.0"}
    assert all(manifest[str(row.sha256)].url == row.url for row in table.itertuples())


def croissant(folder: Path) -> list[dict[str, Any]]:
    import mlcroissant

    data = mlcroissant.Dataset(jsonld=str(folder / "croissant.json"))
    issues = data.metadata.ctx.issues
    assert not issues.errors
    assert not issues.warnings
    assert [row["labels/name"] for row in data.records("labels")] == list(LABELS)
    return [
        {
            name.removeprefix("images/"): value.decode() if isinstance(value, bytes) else value
            for name, value in row.items()
        }
        for row in data.records("images")
    ]


@pytest.mark.parametrize("form", ["imagefolder", "webdataset", "parquet", "coco"])
def test_mlcroissant_accepts_the_description_and_loads_the_records(
    exports: dict[str, Path], expected: dict[str, Shown], form: str
) -> None:
    rows = croissant(exports[form])
    assert {row["sha256"][:16] for row in rows} == set(expected)
    for row in rows:
        wanted = expected[row["sha256"][:16]]
        label = (
            LABELS[row["label"]] if form == "parquet" else row["label"] or "NA"
        )  # its CSV reader takes NA for nothing
        assert (row["split"], label) == (wanted.split, wanted.label)
        assert row["url"].startswith("https://img.example/")
        assert row["license"]
        if row["file_name"].endswith(".jpg") and row["image"].size == wanted.size:
            assert shown(wanted.split, label, row["image"]) == wanted


@pytest.mark.parametrize("form", ["imagefolder", "webdataset", "parquet", "coco", "csv"])
def test_the_code_of_the_card_runs(
    exports: dict[str, Path], form: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(exports[form])
    (code,) = re.findall(r"```python\n(.+?)```", (exports[form] / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    exec(compile(code, "README.md", "exec"), {})
    assert capsys.readouterr().out


def test_the_card_tells_what_a_user_must_know(exports: dict[str, Path], world: Workspace) -> None:
    text = (exports["parquet"] / "README.md").read_text(encoding="utf-8")
    front = dict(line.split(": ", 1) for line in text.split("---\n")[1].splitlines())
    assert json.loads(front["license"]) == ["cc-by-4.0", "cc-by-nc-nd-4.0", "cc-by-sa-3.0", "cc0-1.0"]
    assert {"non-commercial", "share-alike", "no-derivatives"} < set(json.loads(front["tags"]))
    assert json.loads(front["task_categories"]) == ["image-classification"]
    digest = find(world, "horse").digest
    words = ("**Share-alike**", "CC BY-SA 3.0 Germany", "Krippendorff's alpha is 1.000", "sha256(0:horse:image)")
    for said in (digest, *words, "| calibration |", "openverse", "min\\_annotators", "write to pictures@example.org"):
        assert said in text
    counts = re.findall(r"^\| (?:train|calibration|validation) \|.* (\d+) \|$", text, re.MULTILINE)
    assert sum(map(int, counts)) == len(read_manifest(world, find(world, "horse")).rows)


def test_credits_name_every_picture_and_what_was_changed(exports: dict[str, Path], expected: dict[str, Shown]) -> None:
    text = (exports["imagefolder"] / "ATTRIBUTION.md").read_text(encoding="utf-8")
    named = re.findall(r"sha256 `([0-9a-f]{64})`", text)
    assert {each[:16] for each in named} == set(expected)
    assert len(named) == len(expected)
    assert "converted from CMYK JPEG to PNG" in text
    assert "metadata removed" in text


TFDS = """
import json, sys
import tensorflow_datasets as tfds
builder = tfds.ImageFolder(sys.argv[1])
names = builder.info.features["label"].names
found = {}
for split in builder.info.splits:
    for row in tfds.as_numpy(builder.as_dataset(split=split)):
        stem = row["image/filename"].decode().rsplit("/", 1)[1].split(".")[0]
        found[stem] = [split, names[row["label"]], *row["image"].shape[:2]]
print(json.dumps(found))
"""


@pytest.mark.slow
def test_tfds_reads_its_folder(exports: dict[str, Path], expected: dict[str, Shown], tmp_path: Path) -> None:
    sys.path.insert(0, str(REPOSITORY))
    from benchmarks.peers import python_with

    try:
        python = python_with("tfds", "tensorflow-cpu>=2.18", "tensorflow-datasets>=4.9.9")
    except subprocess.CalledProcessError:
        pytest.skip("TensorFlow cannot be installed here")
    quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "NO_GCE_CHECK": "true", "CUDA_VISIBLE_DEVICES": ""}
    command = [str(python), "-c", TFDS, str(exports["tfds"])]
    done = subprocess.run(command, env=quiet, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    read = json.loads(done.stdout.splitlines()[-1])
    names = {name: label for label, name in folders(LABELS).items()}
    assert {stem: (split, names[name]) for stem, (split, name, _, _) in read.items()} == {
        stem: (each.split, each.label) for stem, each in expected.items()
    }
    turned = sum((width, height) != expected[stem].size for stem, (_, _, height, width) in read.items())
    assert turned == 1  # TensorFlow ignores EXIF orientation; the summary and the card say how many pictures that is
