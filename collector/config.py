"""Settings: flag > environment > config.toml > default, each value with its origin.

A section of config.toml is a frozen pydantic model (`Section`) that lives in the package it configures. `load` merges
config.toml with `COLLECT__SECTION__KEY` variables and remembers where each value came from; `Settings.section` checks a
section when a step asks for it. Keys and tokens never belong in config.toml: they come from the environment.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from collector.errors import UsageError
from collector.registry import did_you_mean

PREFIX = "COLLECT__"
SECTIONS = (
    "workspace", "intake", "crawl", "sources", "dedup", "quality", "negatives", "splits",
    "label", "agreement", "snapshot", "shortcuts", "train", "finetune", "engine", "evaluate", "prelabel",
    "next", "sweep", "notify", "concepts",
)  # fmt: skip


class Section(BaseModel):
    """Base of every section model: frozen, unknown keys are refused. `section` is its name in config.toml."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    section: ClassVar[str]


S = TypeVar("S", bound=Section)


class WorkspaceConfig(Section):
    """Where a workspace keeps its data."""

    section = "workspace"
    data: str = Field(".collect", description="folder for everything that collect writes, relative to config.toml")
    catalog: str = Field("", description="SQLAlchemy URL of the record book; empty: SQLite inside `data`")
    store: str = Field("", description="folder or fsspec URL of the image store; empty: a folder inside `data`")
    seed: int = Field(0, ge=0, description="seed of everything that is drawn at random")


class IntakeConfig(Section):
    """What a picture must be to be kept."""

    section = "intake"
    min_side: int = Field(64, ge=1, description="refuse pictures whose shorter side is below this, in pixels")
    max_pixels: int = Field(50_000_000, ge=1, description="refuse pictures above this before they are decoded")
    max_bytes: int = Field(40_000_000, ge=1, description="refuse files above this size, in bytes")


class ConceptConfig(BaseModel):
    """One `[concepts.NAME]` table; a bare word on the command line needs none."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    labels: tuple[str, ...] = Field((), description="closed label set, the concept first, `none of them` last")
    queries: dict[str, tuple[str, ...]] = Field({}, description="search words for each label")
    synsets: dict[str, str] = Field({}, description="WordNet 3.0 id for each label, such as n02374451")
    exclude: tuple[str, ...] = Field((), description="words that a found picture must not carry in its title")


@dataclass(frozen=True)
class Settings:
    """Merged raw settings with the origin of each value; `path` is the config.toml they were read from."""

    path: Path
    raw: dict[str, Any]
    origin: dict[str, str] = field(default_factory=dict)

    def section(self, model: type[S]) -> S:
        """The validated section of `model`; a `UsageError` names the setting, its value and its origin."""
        try:
            return model.model_validate(self.raw.get(model.section, {}))
        except ValidationError as error:
            raise self._explain(model.section, model, error) from None

    def concepts(self) -> dict[str, ConceptConfig]:
        """Every `[concepts.NAME]` table."""
        found = {}
        for name, table in self.raw.get("concepts", {}).items():
            try:
                found[name] = ConceptConfig.model_validate(table)
            except ValidationError as error:
                raise self._explain(f"concepts.{name}", ConceptConfig, error) from None
        return found

    def origin_of(self, dotted: str) -> str:
        """`default`, the path of config.toml, or the name of the environment variable."""
        while dotted not in self.origin and "." in dotted:
            dotted = dotted.rpartition(".")[0]  # an entry of a list comes from where the list comes from
            if dotted in SECTIONS:
                return "default"
        return self.origin.get(dotted, "default")

    def _explain(self, section: str, model: type[BaseModel], error: ValidationError) -> UsageError:
        first = error.errors()[0]
        place = [str(part) for part in first["loc"]]
        dotted = ".".join([section, *place])
        where = self.origin_of(dotted)
        if first["type"] == "extra_forbidden":
            above = dotted.rpartition(".")[0]
            near = did_you_mean(dotted, [f"{above}.{key}" for key in _known_keys(model, place[:-1])])
            return UsageError(
                f"{where}: `{dotted}` is not a setting{near}",
                hint="`collect doctor --config-origin` lists every setting with its value and origin",
            )
        said = "must be a table" if first["type"] in ("model_type", "dict_type") else first["msg"]
        said = said.removeprefix("Value error, ")
        said = said[0].lower() + said[1:]
        remedy = 'write a list as ["a", "b"]' if first["type"] == "tuple_type" else f"correct `{dotted}`"
        return UsageError(
            f"{where}: `{dotted}` = {without_passwords(json.dumps(first['input'], default=str))}: {said}",
            hint=f"{remedy}, or remove it to use the default",
        )


def _known_keys(model: type[BaseModel], place: list[str]) -> list[str]:
    for part in place:
        inner = model.model_fields[part].annotation if part in model.model_fields else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return []
        model = inner
    return list(model.model_fields)


def without_passwords(text: str) -> str:
    """The text with *** for the names and passwords in its addresses, as in http://me:word@proxy.example."""
    return re.sub(r"//[^/@\s]*@", "//***@", text)


def find(start: Path | None = None) -> Path:
    """The config.toml of the folder `start` or of the nearest folder above it."""
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        if (folder / "config.toml").is_file():
            return folder / "config.toml"
    raise UsageError(f"no config.toml in {here} or above it", hint="`collect init` writes one here")


def load(path: Path, environ: Mapping[str, str] = os.environ) -> Settings:
    """Read config.toml and the `COLLECT__...` variables; unknown sections are refused here, keys by `section`."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8-sig"))  # some editors put a byte order mark first
    except FileNotFoundError:
        raise UsageError(f"{path} does not exist", hint=f"`collect init {path.parent}` writes one") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", hint="check its permissions") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not TOML: {error}", hint="mend that line; https://toml.io shows how") from None
    settings = Settings(path, raw)
    _note_origins(settings, raw, str(path))
    for name, value in sorted(environ.items()):
        if name.startswith(PREFIX):
            _overlay(settings, name, value)
    for section in raw:
        dotted = next((key for key in settings.origin if key.startswith(f"{section}.")), section)
        if section not in SECTIONS:
            where = settings.origin.get(dotted, str(path))
            raise UsageError(
                f"{where}: `{section}` is not a section{did_you_mean(section, SECTIONS)}",
                hint=f"sections: {', '.join(SECTIONS)}",
            )
        if not isinstance(raw[section], dict):
            raise UsageError(
                f"{settings.origin_of(section)}: `{section}` must be a table",
                hint=f"write `[{section}]` and the settings under it",
            )
    return settings


def _note_origins(settings: Settings, table: Mapping[str, Any], origin: str, prefix: str = "") -> None:
    for key, value in table.items():
        settings.origin[prefix + key] = origin
        if isinstance(value, dict):
            _note_origins(settings, value, origin, f"{prefix}{key}.")


def _overlay(settings: Settings, name: str, text: str) -> None:
    keys = [key.lower() for key in name[len(PREFIX) :].split("__")]
    if len(keys) < 2 or not all(keys):
        raise UsageError(f"{name} names no setting", hint="write COLLECT__SECTION__KEY, as in COLLECT__CRAWL__LIMIT")
    value: Any = text
    if text.lstrip()[:1] in ("[", "{"):
        try:
            value = json.loads(text)
        except json.JSONDecodeError:
            raise UsageError(f"{name} is not valid JSON: {text}", hint='write a list as ["a", "b"]') from None
    table = settings.raw
    for key in keys[:-1]:
        table = table.setdefault(key, {})
        if not isinstance(table, dict):
            raise UsageError(f"{name}: `{key}` is a value, not a section", hint="check the name")
    table[keys[-1]] = value
    settings.origin[".".join(keys)] = name
