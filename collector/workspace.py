"""`Workspace`: the catalog, the store and the settings; all that the steps share.

with Workspace.open("config.toml") as ws:
    crawl(ws, "horse", limit=500)
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType

from collector import durable
from collector.catalog import Catalog, concepts
from collector.config import Settings, WorkspaceConfig, load
from collector.errors import UsageError
from collector.locks import named_lock
from collector.records import Concept
from collector.registry import did_you_mean
from collector.store import Store

Progress = Callable[[str, int, int | None], None]


def silent(text: str, done: int, total: int | None) -> None:
    """The progress of a library call: none."""


class Workspace:
    """One workspace, opened. `progress(text, done, total)` is called by every step that takes over two seconds."""

    def __init__(self, settings: Settings, catalog: Catalog, store: Store, progress: Progress = silent) -> None:
        self.settings = settings
        self.section = settings.section
        self.root = settings.path.parent
        self.data = self.root / settings.section(WorkspaceConfig).data
        self.seed = settings.section(WorkspaceConfig).seed
        self.catalog = catalog
        self.store = store
        self.progress = progress

    @classmethod
    def open(
        cls,
        config: str | Path = "config.toml",
        *,
        progress: Progress = silent,
        environ: Mapping[str, str] = os.environ,
    ) -> Workspace:
        """Open the workspace of a config.toml, creating its data folder on first use.

        Raises:
            UsageError: the settings are wrong, or a newer version of collect wrote the workspace.
        """
        settings = load(Path(config).resolve(), environ)
        chosen = settings.section(WorkspaceConfig)
        data = settings.path.parent / chosen.data
        os.umask(0o077)  # what we keep may name people and must not be readable by others on the machine
        with durable.explained(data):
            durable.make_folder(data)
        catalog = Catalog.open(
            chosen.catalog or f"sqlite:///{data / 'catalog.sqlite'}",
            lock=named_lock(data / "locks", "migrate", wait_s=60),
        )
        store = chosen.store if "://" in chosen.store else str(settings.path.parent / (chosen.store or data / "store"))
        return cls(settings, catalog, Store(store), progress)

    def concept(self, name: str | None = None, *, create: bool = False) -> Concept:
        """The concept called `name`, or the only one that there is.

        A `[concepts.NAME]` table wins over the catalog; with `create`, a bare word becomes a concept of its own.

        Raises:
            UsageError: no such concept, or no name where there are several.
        """
        tables = self.settings.concepts()
        known = {row.name: row for row in concepts.all_concepts(self.catalog)}
        names = sorted({*tables, *known})
        if name is None:
            if len(names) != 1:
                raise UsageError(
                    "which concept? this workspace holds " + (", ".join(f"`{n}`" for n in names) or "none yet"),
                    hint="name it, as in `collect status horse`" if names else "start with `collect crawl horse`",
                )
            name = names[0]
        if name not in names and not create:
            raise UsageError(
                f"`{name}` is not a concept of this workspace{did_you_mean(name, names)}",
                hint=f"known: {', '.join(names)}" if names else f"start with `collect crawl {name}`",
            )
        if name in tables or name not in known:
            concept = _described(name, tables.get(name))
            if known.get(name) != concept:
                concepts.put(self.catalog, concept)
            return concept
        return known[name]

    def described(self, name: str) -> Concept:
        """What the concept `name` is, or would be if it is a new word; nothing is written."""
        known = {row.name: row for row in concepts.all_concepts(self.catalog)}
        tables = self.settings.concepts()
        return known[name] if name in known and name not in tables else _described(name, tables.get(name))

    def lock(self, name: str, *, shared: bool = False, wait_s: float = 0.0) -> AbstractContextManager[None]:
        """The named lock of a step that must be alone here; raises `Busy` and says who holds it."""
        return named_lock(self.data / "locks", name, shared=shared, wait_s=wait_s)

    def close(self) -> None:
        """Close the catalog."""
        self.catalog.close()

    def __enter__(self) -> Workspace:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _described(name: str, table: object) -> Concept:
    from collector.config import ConceptConfig

    config = table if isinstance(table, ConceptConfig) else ConceptConfig()
    if not name.strip() or len(name) > 100 or any(ord(letter) < 32 for letter in name):
        raise UsageError(f"`{name!r}` cannot be the name of a concept", hint="use a word such as `horse`")
    labels = config.labels or (name, f"not-{name}")
    if len(labels) < 2 or len(set(labels)) != len(labels):
        raise UsageError(
            f"config.toml: `concepts.{name}.labels` must be two or more different labels",
            hint=f'for example ["{name}", "not-{name}"]',
        )
    return Concept(
        name=name,
        labels=tuple(labels),
        queries=dict(config.queries) or {labels[0]: (name,)},
        synsets=dict(config.synsets),
        exclude=tuple(config.exclude),
    )
