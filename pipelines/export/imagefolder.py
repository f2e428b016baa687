"""ImageFolder: `train/horse/0f3a....jpg`, as `torchvision.datasets.ImageFolder` reads it; and the same for TFDS.

Readers number the labels by the order of the folders' names, which is not the order of the concept. Both of torchvision
and of Keras skip files with endings that they do not know, so AVIF and GIF become PNG. `tfds.ImageFolder` takes JPEG
and PNG only.
"""

from __future__ import annotations

from pathlib import Path

from pipelines.export.loose import writer
from pipelines.export.records import About, Format, Made

_TORCHVISION = """\
from PIL import Image, ImageOps
from torchvision.datasets import ImageFolder

def upright(path):  # torchvision's own loader ignores EXIF orientation
    with Image.open(path) as file:
        return ImageOps.exif_transpose(file).convert("RGB")

train = ImageFolder("{split}", loader=upright, allow_empty=True)
image, label = train[0]
print(len(train), "pictures;", image.size, train.classes[label])"""
_TFDS = """\
import tensorflow_datasets as tfds

builder = tfds.ImageFolder(".")
train = builder.as_dataset(split="{split}")
print(builder.info.splits, builder.info.features["label"].names)"""


def _place(made: Made, about: About) -> str:
    return f"{made.row.split}/{about.folders[made.row.label]}/{made.name}"


def prepare(folder: Path, about: About) -> None:
    """Make the folder of every label in every split: without it a reader would number the labels another way."""
    for split in about.options.splits:
        for name in about.folders.values():
            (folder / split / name).mkdir(parents=True, exist_ok=True)


IMAGEFOLDER = Format(
    reads=frozenset({"JPEG", "PNG", "WEBP"}),
    write=writer(_place),
    load=lambda about: _TORCHVISION.format(split=about.options.splits[0]),
    library="torchvision",
    configs="{split}/**",
)
TFDS = Format(
    reads=frozenset({"JPEG", "PNG"}),
    write=writer(_place),
    load=lambda about: _TFDS.format(split=about.options.splits[0]),
    library="TensorFlow Datasets",
    configs="{split}/**",
)
