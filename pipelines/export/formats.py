"""The formats by the names that people type; one file of this package for each."""

from __future__ import annotations

from collector.registry import Registry
from pipelines.export.coco import COCO
from pipelines.export.imagefolder import IMAGEFOLDER, TFDS
from pipelines.export.parquet import PARQUET
from pipelines.export.records import Format
from pipelines.export.table import CSV
from pipelines.export.webdataset import WEBDATASET

FORMATS: Registry[Format] = Registry("format of data sets")
FORMATS.add("imagefolder", IMAGEFOLDER)
FORMATS.add("webdataset", WEBDATASET)
FORMATS.add("parquet", PARQUET)
FORMATS.add("coco", COCO)
FORMATS.add("csv", CSV)
FORMATS.add("tfds", TFDS)
