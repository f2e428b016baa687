"""CVAT for images 1.1: tags of pictures, in XML.

The annotator, the seconds and the note of a tag are attributes of it (`<attribute name="annotator">`), as in a CVAT
project whose tags have such attributes. A document type is refused: with it come entities that expand without end or
read other files.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

from collector.errors import UsageError
from labeling.exchange.lines import About, Line, content, joined, moment, number, parts, save

LINE_END = {"\r": "&#13;"}  # else it would be read back as a line feed
SHAPES = frozenset(["box", "polygon", "polyline", "points", "mask", "cuboid", "ellipse", "skeleton"])


class _Reader:
    """Follows the elements of one document."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: list[Line] = []
        self.shapes = 0
        self.images = 0
        self.image = ""
        self.tag: str | None = None
        self.told: dict[str, str] = {}
        self.attribute: str | None = None

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if name == "image":
            self.image, self.images = attributes.get("name", ""), self.images + 1
        elif name == "tag" and self.image:
            self.tag, self.told = attributes.get("label", ""), {}
        elif name == "attribute" and self.tag is not None:
            self.attribute = attributes.get("name", "")
            self.told.setdefault(self.attribute, "")
        elif name in SHAPES and self.image:
            self.shapes += 1

    def text(self, text: str) -> None:
        if self.attribute is not None:
            self.told[self.attribute] += text

    def end(self, name: str) -> None:
        if name == "attribute":
            self.attribute = None
        elif name == "image":
            self.image = ""
        elif name == "tag" and self.tag is not None:
            seconds, at = number(self.told.get("seconds"), self.path), moment(self.told.get("at"), self.path)
            who = self.told.get("annotator", "").strip()
            self.lines.append(Line(self.image, who, self.tag, self.told.get("note", ""), seconds, at))
            self.tag = None

    def refuse(self, *_: Any) -> None:
        raise UsageError(
            f"{self.path} has a document type (DTD), which may read other files or expand without end",
            hint="CVAT writes none: export it there again, as CVAT for images 1.1",
        )


def read(path: Path) -> list[Line]:
    """The tags of all pictures; raises `UsageError`."""
    reader, parser = _Reader(path), expat.ParserCreate()
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = reader.refuse
    parser.StartElementHandler, parser.EndElementHandler = reader.start, reader.end
    parser.CharacterDataHandler = reader.text
    try:
        parser.Parse(content(path), True)
    except expat.ExpatError as error:
        raise UsageError(f"{path} is not XML: {error}", hint="export it again, as CVAT for images 1.1") from None
    if not reader.images:
        raise UsageError(f"{path} names no pictures", hint="export it as CVAT for images 1.1")
    if reader.shapes and not reader.lines:
        raise UsageError(
            f"{path} has {reader.shapes} shapes and no tags; a class of the whole picture is a tag in CVAT",
            hint="export the task with the tags",
        )
    return joined(reader.lines)


def write(answers: Sequence[Line], path: Path, about: About) -> None:
    """Write one tag for each label of each answer; skips have no place in it."""
    images: dict[str, list[str]] = {}
    for line in answers:
        told = {"annotator": line.annotator, "note": line.note, "at": line.at or ""}
        told["seconds"] = "" if line.seconds is None else repr(line.seconds)
        inner = "".join(
            f"      <attribute name={quoteattr(name)}>{escape(value, LINE_END)}</attribute>\n"
            for name, value in told.items()
            if value
        )
        images.setdefault(line.image, []).extend(
            f'    <tag label={quoteattr(label)} source="manual">\n{inner}    </tag>\n'
            for label in parts(line.label, about.labels)
        )
    rows = ['<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n']
    for at, (image, tags) in enumerate(images.items()):
        shown = about.pictures[image]
        size = f'width="{shown.width}" height="{shown.height}"'
        rows.append(f'  <image id="{at}" name={quoteattr(shown.name)} {size}>\n{"".join(tags)}  </image>\n')
    save(path, _harmless("".join([*rows, "</annotations>\n"])))


def _harmless(document: str) -> str:
    """Without the control characters that XML cannot hold."""
    return "".join(
        letter for letter in document if letter in "\t\n" or (letter >= " " and letter not in "\ufffe\uffff")
    )
