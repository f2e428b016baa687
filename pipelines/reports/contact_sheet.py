"""Pictures for the pages: small, re-encoded, inlined as data: URIs, so that no byte of a stranger's file gets there."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import NamedTuple

from PIL import Image

from collector.catalog import images
from collector.catalog.sightings import Seen
from collector.errors import CollectError
from collector.licenses import title
from collector.workspace import Workspace
from pipelines.features import picture

SIDE = 200  # pixels, the longer side
PER_PAGE = 120  # pictures: at 200 pixels and quality 75 even pure noise stays below 4 MB with base64
QUALITY = 75


class Picture(NamedTuple):
    """One picture on a page: `uri` is empty where the bytes cannot be read any more; the rest is strangers' text."""

    image: str
    uri: str
    width: int
    height: int
    title: str
    creator: str
    page: str
    license: str


class Album:
    """Makes pictures, each once; `unreadable` gathers the images whose bytes are gone or damaged."""

    def __init__(self, ws: Workspace, origins: Mapping[str, Seen]) -> None:
        self.unreadable: set[str] = set()
        self._ws = ws
        self._origins = origins
        self._places = images.previews(ws.catalog)
        self._made: dict[str, Picture] = {}

    def __len__(self) -> int:
        return len(self._made)

    def picture(self, image: str) -> Picture:
        """The picture of an image with its title, creator, page and license."""
        if image not in self._made:
            uri, width, height = self._thumbnail(image)
            about = ("", "", "", "")
            if image in self._origins:
                found = self._origins[image].found
                about = (found.title, found.creator, found.page, title(found.license))
            self._made[image] = Picture(image, uri, width, height, *about)
        return self._made[image]

    def _thumbnail(self, image: str) -> tuple[str, int, int]:
        try:
            small = picture(self._ws, image, self._places.get(image))
        except (CollectError, OSError):
            self.unreadable.add(image)
            return "", SIDE, SIDE
        small.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        small.save(buffer, "JPEG", quality=QUALITY)
        return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}", small.width, small.height
