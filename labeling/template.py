"""An own labeling page, accepted only where it is sure to ask our question and to fetch nothing.

Label Studio's XML can show any HTML, run scripts in it and load addresses. A page is therefore held against a list of
what it may contain, not of what it may not. Tags: https://labelstud.io/tags
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.etree import ElementTree
from xml.parsers import expat

from collector.errors import UsageError
from labeling.interface import UNSURE

MOST_BYTES = 100_000
SHAPE = frozenset({"class", "classname", "style", "idattr"})
MAY = {
    "View": SHAPE | {"display"},
    "Header": SHAPE | {"value", "size", "underline"},
    "Collapse": SHAPE | {"accordion", "bordered", "open"},
    "Panel": SHAPE | {"value"},
    "Image": SHAPE | {
        "name", "value", "zoom", "zoomby", "zoomcontrol", "rotatecontrol", "brightnesscontrol", "contrastcontrol",
        "gammacontrol", "grid", "gridsize", "maxwidth", "width", "height", "smoothing", "negativezoom",
        "horizontalalignment", "verticalalignment", "defaultzoom", "crosshair",
    },
    "HyperText": SHAPE | {"name", "value", "clickablelinks"},
    "Choices": SHAPE | {
        "name", "toname", "choice", "showinline", "required", "requiredmessage", "layout", "allownested",
    },
    "Choice": SHAPE | {"value", "hotkey", "hint", "color", "background", "selected"},
    "TextArea": SHAPE | {
        "name", "toname", "rows", "maxsubmissions", "placeholder", "editable", "showsubmitbutton", "required",
    },
    "Rating": SHAPE | {"name", "toname", "maxrating", "size", "icon", "hotkey", "required"},
}  # fmt: skip
# What could fetch or run: addresses, CSS that loads or is escaped, markup inside of values.
LOADS = re.compile(r"//|\\|[<>]|@|\burl\s*\(|image-set|expression|javascript:|data:", re.IGNORECASE)
HINT = "the tags and their attributes are described at https://labelstud.io/tags"


def read(path: Path, labels: Sequence[str], *, several: bool = False) -> str:
    """The page in a file, checked as `check` does."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise UsageError(f"{path} is no labeling page: it has more than {MOST_BYTES:,} bytes", hint=HINT)
        return check(path.read_text(encoding="utf-8"), labels, several=several)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the labeling page {path} cannot be read: {error}", hint="correct `label.template`") from None


def check(page: str, labels: Sequence[str], *, several: bool = False) -> str:
    """The page itself, when it is well-formed, asks exactly for `labels` and `UNSURE`, and fetches nothing.

    Raises:
        UsageError: it does not; the message says what is wrong.
    """
    try:
        root = _parsed(page)
        for element in root.iter():
            _check_element(element)
        _check_question(root, labels, several)
    except ValueError as error:
        raise UsageError(f"the labeling page in `label.template` cannot be used: {error}", hint=HINT) from None
    return page


def choices(page: str) -> tuple[str, ...]:
    """The values that a page offers for the label; none for a page that is not ours in any way."""
    try:
        root = _parsed(page)
    except ValueError:
        return ()
    return tuple(each.get("value", "") for each in _question(root))


def _parsed(page: str) -> ElementTree.Element:
    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = _refuse_declarations  # no DTD, so no entities: they could read files and explode
    parser.ProcessingInstructionHandler = _refuse_declarations
    try:
        parser.Parse(page.encode(), True)
        return ElementTree.fromstring(page.encode())
    except (expat.ExpatError, ElementTree.ParseError) as error:
        raise ValueError(f"it is not well-formed XML: {error}") from None


def _refuse_declarations(*_: object) -> None:
    raise ValueError("it has a DTD or a processing instruction")


def _check_element(element: ElementTree.Element) -> None:
    tag = str(element.tag)
    if tag not in MAY:
        raise ValueError(f"the tag <{tag}> is not among {', '.join(sorted(MAY))}")
    for name, value in element.attrib.items():
        if name.lower() not in MAY[tag]:
            raise ValueError(f"<{tag}> has the attribute {name}")
        if name != "value" and LOADS.search(value):
            raise ValueError(f"{name} of <{tag}> could fetch or run something: {value[:60]}")
        if name == "value" and tag not in ("Choice", "Image") and value != "$original" and re.search(r"[$<>]", value):
            raise ValueError(f"the value of <{tag}> must be plain text: {value[:60]}")
    if tag == "HyperText" and element.get("value") != "$original":
        raise ValueError("a <HyperText> may only show $original")
    if (element.text or "").strip() or (element.tail or "").strip():
        raise ValueError(f"there is text beside the tags, near <{tag}>")


def _check_question(root: ElementTree.Element, labels: Sequence[str], several: bool) -> None:
    images = list(root.iter("Image"))
    if [(each.get("name"), each.get("value")) for each in images] != [("image", "$image")]:
        raise ValueError('it needs one picture, <Image name="image" value="$image"/>')
    asked = [each for each in root.iter("Choices") if each.get("name") == "label"]
    if len(asked) != 1 or asked[0].get("toName") != "image":
        raise ValueError('it needs one <Choices name="label" toName="image">')
    if (asked[0].get("choice") == "multiple") != several:
        raise ValueError(f"choice of its <Choices> must be {'multiple' if several else 'single or single-radio'}")
    offered, wanted = [each.get("value", "") for each in _question(root)], [*labels, UNSURE]
    if sorted(offered) != sorted(wanted):
        raise ValueError(f"it offers {', '.join(offered) or 'nothing'}; it must offer {', '.join(wanted)}")
    if any("$" in each.get("name", "") for each in root.iter()):
        raise ValueError("a name holds a $")


def _question(root: ElementTree.Element) -> Iterator[ElementTree.Element]:
    for asked in root.iter("Choices"):
        if asked.get("name") == "label":
            yield from asked.iter("Choice")
