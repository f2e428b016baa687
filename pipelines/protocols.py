"""Protocols: how the runs of a concept are trained and measured, written down so that their figures can be compared.

A protocol is a file, `protocols/NAME.toml` beside config.toml. What it says is hashed into every run, with the
validation images and their labels; once a run used it, its name stands for that content for ever.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from collector import durable
from collector.catalog import models
from collector.errors import UsageError
from collector.registry import did_you_mean
from collector.workspace import Workspace
from pipelines.config import FinetuneConfig
from pipelines.manifest import Manifest

FOLDER = "protocols"
HEADER = """\
# How the runs of this protocol are trained and measured; figures are compared within one protocol only.
# Once a run used it, it is never changed: copy it under another name, and give that with --protocol.
"""


class Rules(BaseModel):
    """What a protocol file says."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    metric: Literal["ap", "nll", "error"] = Field("ap", description="what runs are ranked by on validation")
    epochs: int = Field(10, ge=1, description="fine-tuning: epochs at most; the linear head is trained to its optimum")
    patience: int = Field(3, ge=1, description="fine-tuning: stop after so many epochs without a better one")
    resolution: int = Field(0, ge=0, description="pixels of a side; 0: as the weights were trained")
    seeds: tuple[int, ...] = Field((0,), min_length=1, description="one run for each; figures are told with spread")
    validation: str = Field("", description="digest of the validation images and their labels; empty: any")

    @field_validator("seeds")
    @classmethod
    def _differ(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) < len(seeds):
            raise ValueError("the same seed twice is the same run twice")
        return seeds


class Protocol(NamedTuple):
    """A named set of rules; `digest` covers what the rules say, however the file is laid out."""

    name: str
    rules: Rules

    @property
    def digest(self) -> str:
        """sha256 of the rules as JSON, its first 16 digits."""
        return _sha(self.rules.model_dump(mode="json"))


def validation_digest(manifest: Manifest) -> str:
    """sha256 over (image, label) of the validation split: other images or other labels are another yardstick."""
    return _sha([[row.image, row.label] for row in manifest.split("validation")])


def find_protocol(ws: Workspace, manifest: Manifest, asked: str | None = None) -> Protocol:
    """The protocol `asked` for (a name or a file), or the concept's own for this validation set, written if new.

    Raises:
        UsageError: no such file, a key that does not exist, a protocol of another validation set, or one whose file
            was changed after a run had used it.
    """
    validation = validation_digest(manifest)
    protocol = _standing(ws, manifest.concept, validation) if asked is None else _read(_path(ws, asked))
    bound = protocol.rules.validation
    if bound and bound != validation:
        raise UsageError(
            f"protocol `{protocol.name}` measures on validation set {bound}, this snapshot holds {validation}",
            hint="leave --protocol out for one that fits, or train on the snapshot that it was made for (--snapshot)",
        )
    used = {run.config["protocol"]["digest"] for run in _runs_of(ws, manifest.concept, protocol.name)}
    if used - {protocol.digest}:
        raise UsageError(
            f"protocol `{protocol.name}` was changed after runs had used it, so its name would mean two things",
            hint=f"put {FOLDER}/{protocol.name}.toml back as it was, and write the change under another name",
        )
    return protocol


def _standing(ws: Workspace, concept: str, validation: str) -> Protocol:
    """The concept's newest protocol of its own for this validation set; else the next number, written to its file."""
    stem = re.sub(r"[^\w-]+", "-", concept)
    numbered = {
        int(match[1]): path
        for path in (ws.root / FOLDER).glob("*.toml")
        if (match := re.fullmatch(re.escape(stem) + r"-(\d+)", path.stem))
    }
    for _, path in sorted(numbered.items(), reverse=True):
        protocol = _read(path)
        if protocol.rules.validation == validation:
            return protocol
    tuning = ws.section(FinetuneConfig)
    shared = {name: getattr(tuning, name) for name in ("epochs", "patience", "resolution")}
    protocol = Protocol(f"{stem}-{max(numbered, default=0) + 1}", Rules(validation=validation, **shared))
    lines = [
        f"\n# {field.description}\n{name} = {json.dumps(getattr(protocol.rules, name))}\n"
        for name, field in Rules.model_fields.items()
    ]
    durable.save(ws.root / FOLDER / f"{protocol.name}.toml", (HEADER + "".join(lines)).encode())
    return protocol


def _runs_of(ws: Workspace, concept: str, name: str) -> list[models.Experiment]:
    """The runs of a concept under a protocol of that name; runs before protocols were files have none."""
    runs = models.experiments(ws.catalog, concept)
    return [run for run in runs if isinstance(run.config["protocol"], dict) and run.config["protocol"]["name"] == name]


def _path(ws: Workspace, asked: str) -> Path:
    named = ws.root / FOLDER / f"{asked}.toml"
    if named.is_file():
        return named
    if Path(asked).is_file():
        return Path(asked)
    known = [path.stem for path in sorted((ws.root / FOLDER).glob("*.toml"))]
    raise UsageError(
        f"there is no protocol `{asked}`{did_you_mean(asked, known)}",
        hint=f"known: {', '.join(known)}" if known else "leave --protocol out, and the first training writes one",
    )


def _read(path: Path) -> Protocol:
    try:
        return Protocol(path.stem, Rules.model_validate(tomllib.loads(path.read_text(encoding="utf-8-sig"))))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"the protocol {path} is not TOML: {error}", hint="mend that line") from None
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        near = did_you_mean(key, Rules.model_fields) if first["type"] == "extra_forbidden" else ""
        said = f"is not a key of a protocol{near}" if first["type"] == "extra_forbidden" else first["msg"].lower()
        raise UsageError(f"{path}: `{key}` {said}", hint=f"its keys: {', '.join(Rules.model_fields)}") from None


def _sha(described: Any) -> str:
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:16]
