"""Every section of config.toml in one list: check it, render it with comments, tell where each value comes from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from collector import durable
from collector.config import IntakeConfig, Section, Settings, WorkspaceConfig, without_passwords
from collector.dedup import DedupConfig
from collector.negatives import NegativesConfig
from collector.quality import QualityConfig
from collector.spiders.config import CrawlConfig, SourcesConfig
from collector.splits import SplitsConfig
from labeling.config import AgreementConfig, LabelConfig
from pipelines.config import (
    EngineConfig,
    EvaluateConfig,
    FinetuneConfig,
    NextConfig,
    NotifyConfig,
    PrelabelConfig,
    ShortcutsConfig,
    SnapshotConfig,
    SweepConfig,
    TrainConfig,
)

ALL_SECTIONS: tuple[type[Section], ...] = (
    WorkspaceConfig,
    IntakeConfig,
    CrawlConfig,
    SourcesConfig,
    DedupConfig,
    QualityConfig,
    NegativesConfig,
    SplitsConfig,
    LabelConfig,
    AgreementConfig,
    SnapshotConfig,
    ShortcutsConfig,
    TrainConfig,
    FinetuneConfig,
    EngineConfig,
    EvaluateConfig,
    PrelabelConfig,
    NextConfig,
    SweepConfig,
    NotifyConfig,
)
HEADER = """\
# Settings of this collect workspace, each at its default. Remove a line and nothing changes.
# Any of them can also come from the environment: COLLECT__CRAWL__LIMIT=100 sets `limit` of [crawl].
# Keys and tokens are never written here: they come from the environment.
"""
CONCEPTS = """
# A bare word is a concept: `collect crawl horse`. Several classes, or search words of your own, are written down:
#
# [concepts.equids]
# labels   = ["horse", "donkey", "zebra", "none"]
# queries  = { horse = ["horse", "pony"], donkey = ["donkey"], zebra = ["zebra"] }
# synsets  = { horse = "n02374451", donkey = "n02389559", zebra = "n02391049" }
# exclude  = ["rocking horse", "seahorse"]
"""


def check(settings: Settings) -> None:
    """Validate every section, so that a typo is told before a step begins; raises `UsageError`."""
    for model in ALL_SECTIONS:
        settings.section(model)
    settings.concepts()


def render() -> str:
    """A config.toml with every setting at its default, each with its description as a comment."""
    return HEADER + "".join(_render(model.section, model) for model in ALL_SECTIONS) + CONCEPTS


def _render(name: str, model: type[BaseModel]) -> str:
    lines, tables = [f"\n[{name}]"], []
    doc = (model.__doc__ or "").strip().splitlines()[0]
    for key, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            tables.append(_render(f"{name}.{key}", inner))
        else:
            lines.append(f"# {field.description}\n{key} = {_toml(field.get_default(call_default_factory=True))}")
    return f"\n# {doc}" + "\n".join(lines) + "\n" + "".join(tables)


def _toml(value: Any) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml(each) for each in value) + "]"
    return json.dumps(value)  # TOML spells strings, numbers and booleans as JSON does


def origins(settings: Settings) -> list[dict[str, Any]]:
    """Every setting with its value and its origin: `default`, a config.toml, or an environment variable."""
    rows: list[dict[str, Any]] = []
    for model in ALL_SECTIONS:
        _origins(settings, model.section, settings.section(model), rows)
    return rows


def _origins(settings: Settings, name: str, values: BaseModel, rows: list[dict[str, Any]]) -> None:
    for key, value in values:
        if isinstance(value, BaseModel):
            _origins(settings, f"{name}.{key}", value, rows)
        else:
            origin = settings.origin_of(f"{name}.{key}")
            shown = json.loads(without_passwords(json.dumps(value)))
            rows.append({"setting": f"{name}.{key}", "value": shown, "origin": origin})


def write(path: Path) -> None:
    """Write the rendered config.toml to `path`, whole or not at all."""
    durable.save(path, render().encode())
