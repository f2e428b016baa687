"""ImageFolder: a folder for each label, with the pictures themselves. It holds one answer for each picture.

A picture is known by its bytes, whatever its file is called. In names of folders, `%2F` stands for a slash.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote

from collector import durable, folders
from collector.errors import UsageError
from labeling.exchange.lines import About, Line

AT_ONCE = 100  # pictures in memory, and made durable together


def read(path: Path) -> list[Line]:
    """One line for each picture, without an annotator; raises `UsageError`."""
    top = path.resolve()
    found: dict[str, str] = {}
    for file in folders.files(path):
        inside = file.relative_to(top).parts
        if len(inside) < 2 or file.name.startswith("."):
            continue  # what lies beside the folders says nothing of pictures
        image, label = hashlib.sha256(_bytes(file)).hexdigest(), unquote(inside[0])
        if found.setdefault(image, label) != label:
            raise UsageError(
                f"{folders.inside(file, top)} also lies in the folder of `{found[image]}`",
                hint="one person gives a picture one label: remove one of the two",
            )
    if not found:
        raise UsageError(f"{path} holds no folders of pictures", hint="it needs a folder for each label, with pictures")
    return [Line(image, "", label) for image, label in found.items()]


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}", hint="mend or remove it") from None


def write(answers: Sequence[Line], path: Path, about: About) -> None:
    """Copy the pictures into folders by label; raises `UsageError` when several people answered, or it is not empty."""
    people = sorted({line.annotator for line in answers})
    if len(people) > 1:
        raise UsageError(
            f"folders hold the labels of one person, and {len(people)} answered",
            hint=f"choose one with --annotator: {', '.join(people[:5])}, or another format",
        )
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise UsageError(f"{path} is there already, and not an empty folder", hint="name a new folder")
    known: set[str] = set()
    for start in range(0, len(answers), AT_ONCE):
        files = {
            str(path.absolute() / folder_name(line.label) / about.pictures[line.image].name): about.store.get(
                line.image
            )
            for line in answers[start : start + AT_ONCE]
        }
        with durable.explained(path):
            durable.write_all(files, known)


def folder_name(label: str) -> str:
    """A label as the name of a folder: it can neither lead elsewhere nor be hidden."""
    name = label.replace("%", "%25").replace("/", "%2F").replace("\0", "%00")
    return f"%2E{name[1:]}" if name.startswith(".") else name
