"""croissant.json: the data set as MLCommons Croissant 1.0 describes one, for search engines and for `mlcroissant`.

Specification: https://docs.mlcommons.org/croissant/docs/croissant-spec.html. Loose files and tar shards are joined with
the rows of images.csv by the name of the file; Parquet files hold both.
"""

from __future__ import annotations

import json
from typing import Any

from collector.credits import web_link
from pipelines.export.records import About
from pipelines.export.table import COLUMNS
from pipelines.export.tally import Tally

_TYPES: dict[str, Any] = {
    "width": "sc:Integer",
    "height": "sc:Integer",
    "annotators": "sc:Integer",
    "confidence": "sc:Float",
    "split": ["sc:Text", "cr:Split"],
    "label": ["sc:Text", "cr:Label"],
    **dict.fromkeys(("url", "page", "creator_url", "license_url"), "sc:URL"),
}
MIME = {".jpg": "image/jpeg", ".png": "image/png", ".webp": "image/webp", ".gif": "image/gif", ".avif": "image/avif"}
CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}


def describe(about: About, tally: Tally, files: dict[str, tuple[str, int]], table: tuple[str, int]) -> bytes:
    """The description of an export; `files` are its shards (none for loose pictures), `table` is images.csv."""
    labels = ", ".join(about.labels)
    told = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": f"{about.concept}-{about.snapshot[:12]}",
        "description": f"{tally.images} labeled pictures ({labels}), each with its license, creator and source.",
        "url": f"urn:sha256:{about.snapshot}",
        "version": f"1.0.0+{about.snapshot[:12]}",
        "datePublished": about.made_at[:10],
        "license": sorted({web_link(each.url) or each.code for each in tally.licenses}),
        "citeAs": f"@misc{{{about.snapshot[:12]}, title={{{about.concept}}}, note={{snapshot {about.snapshot}}}}}",
        "isLiveDataset": False,
        "distribution": _distribution(about, files, table),
        "recordSet": [_labels(about), _pictures(about)],
    }
    return (json.dumps(told, indent=1, ensure_ascii=False) + "\n").encode("utf-8", "replace")


def _distribution(about: About, files: dict[str, tuple[str, int]], table: tuple[str, int]) -> list[dict[str, Any]]:
    rows = _file("images.csv", "text/csv", table)
    if about.options.format == "parquet":
        includes = ["data/*.parquet"]
        kind = "application/x-parquet"
        return [rows, {"@type": "cr:FileSet", "@id": "pictures", "encodingFormat": kind, "includes": includes}]
    pictures: dict[str, Any] = {
        "@type": "cr:FileSet",
        "@id": "pictures",
        "encodingFormat": ["image/jpeg", "image/png"],
        "includes": [f"*{suffix}" for suffix in MIME],
    }
    shards = [_file(path, "application/x-tar", told) for path, told in sorted(files.items())]
    if shards:
        pictures["containedIn"] = [{"@id": each["@id"]} for each in shards]
    return [rows, *shards, pictures]


def _file(path: str, kind: str, told: tuple[str, int]) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": path,
        "name": path,
        "contentUrl": path,
        "contentSize": f"{told[1]} B",
        "encodingFormat": kind,
        "sha256": told[0],
    }


def _labels(about: About) -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": "labels",
        "dataType": "sc:Enumeration",
        "key": {"@id": "labels/name"},
        "field": [{"@type": "cr:Field", "@id": "labels/name", "dataType": "sc:Text"}],
        "data": [{"labels/name": label} for label in about.labels],
    }


def _pictures(about: About) -> dict[str, Any]:
    parquet = about.options.format == "parquet"
    names = [name for name in COLUMNS if not (parquet and name in ("path", "label"))]
    source = {"fileSet": {"@id": "pictures"}} if parquet else {"fileObject": {"@id": "images.csv"}}
    fields: list[dict[str, Any]] = [
        {
            "@type": "cr:Field",
            "@id": f"images/{name}",
            "dataType": _TYPES.get(name, "sc:Text"),
            "source": {**source, "extract": {"column": name}},
        }
        for name in names
    ]
    content: dict[str, Any] = {"extract": {"fileProperty": "content"}}
    if parquet:
        content = {"extract": {"column": "image"}, "transform": {"jsonPath": "bytes"}}
        number = {"@type": "cr:Field", "@id": "images/label", "dataType": ["sc:Integer", "cr:Label"]}
        fields.append({**number, "source": {**source, "extract": {"column": "label"}}})
    else:
        joined = next(each for each in fields if each["@id"] == "images/file_name")
        joined["references"] = joined["source"]
        joined["source"] = {"fileSet": {"@id": "pictures"}, "extract": {"fileProperty": "filename"}}
    picture = {"@type": "cr:Field", "@id": "images/image", "dataType": "sc:ImageObject"}
    fields.append({**picture, "source": {"fileSet": {"@id": "pictures"}, **content}})
    key = {"@id": "images/file_name"}
    return {"@type": "cr:RecordSet", "@id": "images", "key": key, "field": fields}
