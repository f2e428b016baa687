"""A folder of finished files: all are written aside first, so that a reader never finds half of them."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path

from collector import durable


def publish(folder: Path, files: Mapping[str, bytes]) -> None:
    """Put the files into a folder, which may hold other things: all are written aside, then renamed one by one.

    Raises:
        CollectError: the folder cannot be written, or its disk is full.
    """
    with durable.explained(folder):
        durable.make_folder(folder)
        for left_over in folder.glob(".draft-*"):
            shutil.rmtree(left_over)  # of a killed command: this one holds the lock
        draft = folder / f".draft-{uuid.uuid4().hex[:8]}"
        draft.mkdir()
        try:
            for name, data in files.items():
                durable.write(draft / name, data)
            for name in files:
                os.replace(draft / name, folder / name)
        finally:
            shutil.rmtree(draft, ignore_errors=True)


def folder_name(concept: str) -> str:
    """A concept may be called `a/b` or `..`: what a path gives a meaning to is written as %XX."""
    return "".join(f"%{ord(letter):02X}" if letter in "/\\%." else letter for letter in concept)
