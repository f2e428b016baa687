"""From the name of a source to its spider: those that come with collect, and those of a user's own files."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from collector.errors import UsageError
from collector.registry import Registry
from collector.spiders import BUILT_IN
from collector.spiders.base import ImageSpider
from collector.spiders.config import SourceConfig, SourcesConfig
from collector.workspace import Workspace


def load(ws: Workspace, name: str) -> type[ImageSpider]:
    """The spider called `name`. Raises `UsageError`."""
    from scrapy.utils.misc import load_object

    if name in BUILT_IN:
        found: type[ImageSpider] = load_object(BUILT_IN[name])
        return found
    return plugins(ws)[name]


def plugins(ws: Workspace) -> Registry[type[ImageSpider]]:
    """The sources in the files of `sources.plugins`; a file that fails is explained, not skipped."""
    found: Registry[type[ImageSpider]] = Registry("source")
    for name in BUILT_IN:
        found.add(name, ImageSpider)
    for given in ws.section(SourcesConfig).plugins:
        path = ws.settings.path.parent / given
        spiders = [
            each
            for each in vars(_module(path)).values()
            if isinstance(each, type) and issubclass(each, ImageSpider) and each.__module__ == _module_name(path)
        ]
        if not spiders:
            raise UsageError(f"{path} has no source", hint="docs/sources.md shows how to write one")
        for spider in spiders:
            if not getattr(spider, "name", ""):
                raise UsageError(f"{path}: {spider.__name__} has no `name`", hint="docs/sources.md shows an example")
            found.add(spider.name, spider)
    return found


def source_config(ws: Workspace, name: str) -> SourceConfig:
    """The settings of a source; those of plug-ins have the defaults."""
    config: SourceConfig = getattr(ws.section(SourcesConfig), name, SourceConfig())
    return config


def _module(path: Path) -> ModuleType:
    name = _module_name(path)
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise UsageError(f"sources.plugins: {path} is not a Python file", hint="correct the path in config.toml")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise UsageError(f"{path} cannot be loaded: {type(error).__name__}: {error}", hint="mend the file") from error
    return module


def _module_name(path: Path) -> str:
    return f"collect_plugin_{path.resolve().as_posix().replace('/', '_').replace('.', '_')}"
