"""What travels between the steps: frozen records without any input or output of their own.

An *image* is a set of unique bytes, named by its sha256; a *sighting* is one place where it was seen; a *concept* is a
classification problem with a closed label set. An image knows nothing of concepts.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

UNSURE = "can't tell"  # an answer that is no label
JOINT = "|"  # between the labels of an answer that names several


@dataclass(frozen=True, slots=True)
class License:
    """A license as a fact with evidence.

    `code` is one of `licenses.CODES` (`by-sa`, `cc0`, `pdm`, ...), or `own` and `unlicensed` for imported folders.
    `jurisdiction` is the country of a ported license (`de`), empty for an international one.
    `evidence` says which field of which answer told us, word for word; when, is the `seen_at` of the sighting.
    """

    code: str
    version: str = ""
    url: str = ""
    jurisdiction: str = ""
    evidence: str = ""

    @property
    def public(self) -> bool:
        """In the public domain: no duty at all."""
        return self.code in ("cc0", "pdm", "us-gov")

    @property
    def attribution_required(self) -> bool:
        """The creator must be named (by)."""
        return "by" in self.code.split("-")

    @property
    def nc(self) -> bool:
        """Commercial use is forbidden."""
        return "nc" in self.code.split("-")

    @property
    def nd(self) -> bool:
        """Sharing changed copies is forbidden."""
        return "nd" in self.code.split("-")

    @property
    def sa(self) -> bool:
        """Changed copies must be shared under the same license."""
        return "sa" in self.code.split("-")


@dataclass(frozen=True, slots=True)
class Sighting:
    """One place where an image was seen: what the source said of it, and which query of which concept found it.

    `final_url` is where redirects led, empty when there were none. `facts` is what else the source states, as plain
    JSON: width, height (pixels), bytes, sha1, md5, date (ISO), kind (photograph, illustration, artwork), mature,
    language, restrictions, tags, verified (positive, negative: by people), fallbacks (other addresses of the picture).
    """

    source: str
    source_id: str
    url: str
    license: License
    concept: str = ""
    label: str = ""
    query: str = ""
    page: str = ""
    title: str = ""
    creator: str = ""
    creator_url: str = ""
    final_url: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Kept:
    """Intake stored new bytes."""

    image: str


@dataclass(frozen=True, slots=True)
class Known:
    """The bytes were there already; the sighting was added (or was there as well).

    `new_here`: it is the first sighting of the image for this concept.
    """

    image: str
    new_here: bool = False


@dataclass(frozen=True, slots=True)
class Rejected:
    """Intake refused the bytes; `reason` is a short fixed word, `detail` is for people."""

    reason: str
    detail: str = ""


Outcome = Kept | Known | Rejected


@dataclass(frozen=True, slots=True)
class Concept:
    """A named classification problem. `labels[0]` is the concept itself and `labels[-1]` means "none of them"."""

    name: str
    labels: tuple[str, ...]
    queries: dict[str, tuple[str, ...]] = field(default_factory=dict)
    synsets: dict[str, str] = field(default_factory=dict)
    exclude: tuple[str, ...] = ()

    @property
    def positive(self) -> str:
        """The label of the concept itself."""
        return self.labels[0]

    @property
    def negative(self) -> str:
        """The label that says "none of the others"."""
        return self.labels[-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What a step did. Subclasses add the figures; `--json` prints the fields, the terminal prints them as a table.

    `next` is the command that a person would type now, without backticks; `warnings` are repeated at the end.
    """

    next: str = ""
    warnings: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The figures as plain JSON values; these keys are an interface (docs/json.md)."""
        return dataclasses.asdict(self)

    def for_people(self) -> dict[str, Any]:
        """The figures that the terminal shows: all of them, unless a step says otherwise."""
        return self.as_json()
