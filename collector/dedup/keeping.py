"""Which of several copies is kept: an ordered list of criteria, each of which narrows the choice.

Files are read only where a choice hangs on them: to tell a large picture from one that was scaled up, and for the
quality of a JPEG and its EXIF. What they tell is kept in the catalog, so that no file is asked twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, get_args

from collector import metadata
from collector.catalog import comparisons
from collector.catalog.pools import Candidate
from collector.dedup import detail
from collector.errors import CollectError
from collector.licenses import openness
from collector.workspace import Workspace

Criterion = Literal["in-pool", "license", "resolution", "quality", "exif", "source", "earliest"]
Alike = Callable[[str, Sequence[str]], Sequence[str]]
CRITERIA: tuple[Criterion, ...] = get_args(Criterion)
FILE, DETAIL = "file/1", "spectrum/3"  # names in table `quality`
LOSSLESS = {"PNG": 100, "GIF": 60}  # beside JPEG's own scale; GIF has 256 colors
UNKNOWN = 75  # what the usual encoders of WebP and AVIF are set to
SMALLER = 0.6  # of the pixels: scaling up by less than 1.3 is hardly seen, and gains little
FRAMED = 0.95  # of the pixels inside a frame count: where the frame ends is not known to the pixel
LOOKED_AT = 8  # pictures of one size that are checked for being upscaled


class Policy:
    """Chooses among candidates.

    `sources` are those preferred, best first; `alike` tells which of some images show the whole of a picture.
    """

    def __init__(
        self,
        ws: Workspace,
        known: Mapping[str, Candidate],
        keep: Sequence[Criterion],
        sources: Sequence[str],
        alike: Alike,
    ) -> None:
        self._ws = ws
        self._known = known
        self._keep = keep
        self._sources = {name: place for place, name in enumerate(sources)}
        self._alike = alike
        self._read: dict[str, dict[str, dict[str, Any]]] = {}
        self._fresh: dict[str, dict[str, tuple[float, dict[str, Any]]]] = {FILE: {}, DETAIL: {}}

    def best(self, images: Sequence[str]) -> str:
        """The image to keep of several; the same whatever their order."""
        for criterion in self._keep:
            if len(images) == 1:
                break
            images = self._narrow(criterion, images)
        return min(images)

    def why(self, keeper: str, copy: str) -> str:
        """In words, why one of two was kept."""
        pair = [keeper, copy]
        for criterion in self._keep:
            left = self._narrow(criterion, pair)
            if len(left) == 1:
                return self._said(criterion, keeper, copy) if left == [keeper] else "best of its group"
        return "first by its name: nothing tells them apart"

    def flush(self) -> None:
        """Write down what was learned from files."""
        for check, found in self._fresh.items():
            comparisons.add_details(self._ws.catalog, check, found)
            found.clear()

    def _narrow(self, criterion: Criterion, images: Sequence[str]) -> Sequence[str]:
        if criterion == "resolution":
            return self._sharpest(images)
        found = {image: self._place(criterion, image) for image in images}
        best = min(found.values())
        return [image for image in images if found[image] == best]

    def _place(self, criterion: Criterion, image: str) -> Any:
        """What is compared, the lowest is best."""
        known = self._known[image]
        if criterion == "in-pool":
            return not known.in_pool
        if criterion == "license":
            return -max((openness(code) for code in known.licenses), default=0)
        if criterion == "quality":
            return -self._quality(image)
        if criterion == "exif":
            return not self._file(image).get("exif")
        if criterion == "source":
            return min((self._sources.get(name, len(self._sources)) for name in known.sources), default=0)
        return known.first_seen

    def _sharpest(self, images: Sequence[str]) -> Sequence[str]:
        """The largest, without those that hold no more detail than a much smaller copy of the whole picture.

        A frame of one color does not count.
        """
        area = self._shown(images)
        for largest in sorted(set(area.values()), reverse=True):
            same = sorted(
                (image for image in images if area[image] == largest), key=lambda i: (-self._known[i].bytes, i)
            )
            small = [image for image in images if area[image] <= SMALLER * largest]
            if real := [image for image in same[:LOOKED_AT] if self._holds_more(image, small)]:
                return real
        return images

    def _shown(self, images: Sequence[str]) -> dict[str, float]:
        """Pixels inside the frame, of those that can be the largest; the whole of the others."""
        area: dict[str, float] = {image: self._known[image].area for image in images}
        most = min(area.values())
        for image in sorted(images, key=lambda image: (-area[image], image)):
            if area[image] <= most:
                break
            if (inside := self._inside(image)) < 1:
                area[image] *= inside * FRAMED
            most = max(most, area[image])
        return area

    def _holds_more(self, image: str, small: Sequence[str]) -> bool:
        copies = self._alike(image, small) if small else []
        if not copies:
            return True
        area = max(self._known[copy].area for copy in copies)
        return detail.holds_more(self._spectrum(image), float((area / self._known[image].area) ** 0.5))

    def _said(self, criterion: Criterion, keeper: str, copy: str) -> str:
        ours, theirs = self._known[keeper], self._known[copy]
        if criterion == "license":
            return f"more open license ({'/'.join(ours.licenses)} against {'/'.join(theirs.licenses)})"
        if criterion == "resolution":
            if ours.area < theirs.area and self._inside(copy) < 1:
                return f"the other is larger by its frame only ({theirs.area} pixels against {ours.area})"
            if ours.area < theirs.area:
                return f"the other is upscaled ({theirs.area} pixels with the detail of {ours.area})"
            return f"more pixels ({ours.area} against {theirs.area})"
        if criterion == "quality":
            return f"less compressed (quality {self._quality(keeper)} against {self._quality(copy)})"
        if criterion == "source":
            return f"preferred source ({'/'.join(ours.sources)} against {'/'.join(theirs.sources)})"
        return {"in-pool": "already in the pool", "exif": "EXIF kept", "earliest": "seen first"}[criterion]

    def _quality(self, image: str) -> int:
        known = self._known[image]
        quality = self._file(image).get("quality")
        return int(quality) if quality is not None else LOSSLESS.get(known.format, UNKNOWN)

    def _file(self, image: str) -> dict[str, Any]:
        def look(data: bytes) -> tuple[float, dict[str, Any]]:
            header = metadata.read(data)
            about = {"quality": header.quality, "exif": header.exif} if header else {}
            return (about.get("quality") or 0) / 100, about

        return self._look(FILE, image, look)

    def _spectrum(self, image: str) -> Sequence[float]:
        return list(self._pixels(image).get("above", ()))

    def _inside(self, image: str) -> float:
        return float(self._pixels(image).get("inside", 1.0))

    def _pixels(self, image: str) -> dict[str, Any]:
        def look(data: bytes) -> tuple[float, dict[str, Any]]:
            above, inside = detail.of_file(data)
            return 1.0 if above else 0.0, {"above": above, "inside": round(inside, 4)}

        return self._look(DETAIL, image, look)

    def _look(self, check: str, image: str, look: Callable[[bytes], tuple[float, dict[str, Any]]]) -> dict[str, Any]:
        if check not in self._read:
            self._read[check] = comparisons.details(self._ws.catalog, check)
        known = self._read[check]
        if image not in known:
            try:
                found = look(self._ws.store.get(image))
            except CollectError:  # the store has lost it; what it was cannot be told
                known[image] = {}
                return {}
            known[image], self._fresh[check][image] = found[1], found
        return known[image]
