"""config.toml in the repository, `collect init` and the models say the same."""

from __future__ import annotations

import tomllib
from pathlib import Path

from collector.config import SECTIONS, load
from pipelines import settings
from tests.conftest import REPOSITORY


def test_the_repositorys_config_is_what_init_writes() -> None:
    assert (REPOSITORY / "config.toml").read_text(encoding="utf-8") == settings.render()


def test_every_rendered_setting_is_at_its_default(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(settings.render(), encoding="utf-8")
    (tmp_path / "empty.toml").write_text("", encoding="utf-8")
    written, default = load(tmp_path / "config.toml", {}), load(tmp_path / "empty.toml", {})
    for model in settings.ALL_SECTIONS:
        assert written.section(model) == default.section(model)


def test_every_section_that_is_known_has_a_model() -> None:
    assert {model.section for model in settings.ALL_SECTIONS} | {"concepts"} == set(SECTIONS)


def test_every_setting_is_described() -> None:
    rendered = tomllib.loads(settings.render())
    assert rendered["crawl"]
    assert "\n# None\n" not in settings.render()
