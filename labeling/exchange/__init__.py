"""Labels in and out without Label Studio: its JSON, CSV, CVAT, COCO and folders of pictures.

Whatever the format, a label from elsewhere becomes a row of `annotation` as every other answer does; it has no task,
and its `origin` names the file.
"""

from labeling.exchange.step import FORMATS as FORMATS
from labeling.exchange.step import LabelExportSummary as LabelExportSummary
from labeling.exchange.step import LabelImportSummary as LabelImportSummary
from labeling.exchange.step import export_labels as export_labels
from labeling.exchange.step import import_labels as import_labels
