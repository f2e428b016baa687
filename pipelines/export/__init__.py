"""A snapshot as files that others can load: ImageFolder, WebDataset, Parquet, COCO, CSV, TFDS; one file for each.

Pictures are made by threads and written part by part into a folder that is called `NAME.unfinished`; a journal in it
says which parts are done, so that a killed export goes on. Credits, a description (Croissant), a card and SHA256SUMS
come last, and then the folder takes its name.
"""

from pipelines.export.formats import FORMATS as FORMATS
from pipelines.export.step import ExportSummary as ExportSummary
from pipelines.export.step import export as export
