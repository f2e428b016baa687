"""Settings: every wrong one is named with its value and where it came from."""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import Field

from collector.config import Section, Settings, WorkspaceConfig, find, load
from collector.errors import UsageError
from collector.workspace import Workspace


class Crawl(Section):
    """A section as a package would declare it."""

    section: ClassVar[str] = "crawl"
    limit: int = Field(100, ge=1, description="")
    sources: tuple[str, ...] = Field(("openverse",), description="")
    contact: str = Field("", description="")
    pause: float = Field(1.0, description="")
    hosts: dict[str, int] = Field({}, description="")


def settings(folder: Path, text: str = "", **environ: str) -> Settings:
    (folder / "config.toml").write_text(text, encoding="utf-8")
    return load(folder / "config.toml", environ)


def refused(folder: Path, text: str = "", **environ: str) -> UsageError:
    with pytest.raises(UsageError) as error:
        settings(folder, text, **environ).section(Crawl)
    assert error.value.hint
    assert error.value.exit_code == 2
    assert "\n" not in error.value.message
    return error.value


def test_an_empty_file_means_the_defaults(tmp_path: Path) -> None:
    found = settings(tmp_path)
    assert found.section(Crawl) == Crawl()
    assert found.origin_of("crawl.limit") == "default"


def test_the_environment_wins_over_the_file_and_the_file_over_the_default(tmp_path: Path) -> None:
    found = settings(tmp_path, "[crawl]\nlimit = 5\npause = 2", COLLECT__CRAWL__LIMIT="7")
    assert found.section(Crawl) == Crawl(limit=7, pause=2.0)
    assert found.origin_of("crawl.limit") == "COLLECT__CRAWL__LIMIT"
    assert found.origin_of("crawl.pause") == str(tmp_path / "config.toml")
    assert found.origin_of("crawl.contact") == "default"


def test_variables_of_other_programs_are_not_ours(tmp_path: Path) -> None:
    assert (
        settings(tmp_path, COLLECT="1", COLLECT_CRAWL_LIMIT="9", XCOLLECT__CRAWL__LIMIT="9").section(Crawl) == Crawl()
    )


def test_a_list_and_a_table_can_come_from_the_environment(tmp_path: Path) -> None:
    environ = {"COLLECT__CRAWL__SOURCES": '["commons", "folder"]', "COLLECT__CRAWL__HOSTS": '{"a.example": 3}'}
    found = settings(tmp_path, **environ)
    assert found.section(Crawl) == Crawl(sources=("commons", "folder"), hosts={"a.example": 3})


def test_a_deep_setting_can_come_from_the_environment(tmp_path: Path) -> None:
    found = settings(
        tmp_path, '[concepts.horse]\nqueries = { horse = ["pony"] }', COLLECT__CONCEPTS__HORSE__LABELS='["a", "b"]'
    )
    assert found.concepts()["horse"].labels == ("a", "b")
    assert found.concepts()["horse"].queries == {"horse": ("pony",)}


def test_a_typo_in_a_setting_gets_did_you_mean(tmp_path: Path) -> None:
    error = refused(tmp_path, "[crawl]\nlimt = 5")
    assert error.message == f"{tmp_path}/config.toml: `crawl.limt` is not a setting; did you mean `crawl.limit`?"


def test_a_typo_in_the_environment_names_the_variable(tmp_path: Path) -> None:
    error = refused(tmp_path, COLLECT__CRAWL__LIMT="5")
    assert error.message == "COLLECT__CRAWL__LIMT: `crawl.limt` is not a setting; did you mean `crawl.limit`?"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('limit = "many"', '`crawl.limit` = "many": input should be a valid integer'),
        ("limit = 0", "`crawl.limit` = 0: input should be greater than or equal to 1"),
        ("limit = 1.5", "`crawl.limit` = 1.5: input should be a valid integer"),
        ("contact = 3", "`crawl.contact` = 3: input should be a valid string"),
        ("contact = 2026-01-01", '`crawl.contact` = "2026-01-01": input should be a valid string'),
        ('sources = "openverse"', '`crawl.sources` = "openverse": input should be a valid tuple'),
        ('sources = ["openverse", 3]', "`crawl.sources.1` = 3: input should be a valid string"),
        ("hosts = 3", "`crawl.hosts` = 3: must be a table"),
    ],
)
def test_a_wrong_value_is_named_with_where_it_came_from(tmp_path: Path, text: str, said: str) -> None:
    assert refused(tmp_path, f"[crawl]\n{text}").message.startswith(f"{tmp_path}/config.toml: {said}")


def test_a_wrong_value_from_the_environment_names_the_variable(tmp_path: Path) -> None:
    error = refused(tmp_path, "[crawl]\nlimit = 5", COLLECT__CRAWL__LIMIT="many")
    assert error.message.startswith('COLLECT__CRAWL__LIMIT: `crawl.limit` = "many": input should be a valid integer')
    error = refused(tmp_path, COLLECT__CRAWL__SOURCES='["a", 3]')
    assert error.message.startswith("COLLECT__CRAWL__SOURCES: `crawl.sources.1` = 3")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[crawll]\nlimit = 5", "`crawll` is not a section; did you mean `crawl`?"),
        ("crawl = 5", "`crawl` must be a table"),
        ("limit = 5", "`limit` is not a section"),
    ],
)
def test_an_unknown_section_is_refused(tmp_path: Path, text: str, said: str) -> None:
    assert refused(tmp_path, text).message == f"{tmp_path}/config.toml: {said}"


def test_an_unknown_section_in_the_environment_names_the_variable(tmp_path: Path) -> None:
    error = refused(tmp_path, COLLECT__CRAWLL__LIMIT="5")
    assert error.message == "COLLECT__CRAWLL__LIMIT: `crawll` is not a section; did you mean `crawl`?"


@pytest.mark.parametrize("name", ["COLLECT__CRAWL", "COLLECT__", "COLLECT____LIMIT", "COLLECT__CRAWL__"])
def test_a_variable_that_names_no_setting_is_refused(tmp_path: Path, name: str) -> None:
    assert name in refused(tmp_path, **{name: "1"}).message


def test_a_variable_below_a_value_is_refused(tmp_path: Path) -> None:
    error = refused(tmp_path, "[crawl]\nlimit = 5", COLLECT__CRAWL__LIMIT__DEEPER="1")
    assert error.message == "COLLECT__CRAWL__LIMIT__DEEPER: `limit` is a value, not a section"


def test_a_list_in_the_environment_that_is_not_json_is_refused(tmp_path: Path) -> None:
    assert "COLLECT__CRAWL__SOURCES is not valid JSON" in refused(tmp_path, COLLECT__CRAWL__SOURCES="[a, b]").message


@pytest.mark.parametrize("data", [b"[crawl\nlimit = 5", b"limit: 5", b"\xff\xfe\x00", b"{}", b"[crawl]\n[crawl]"])
def test_a_file_that_is_not_toml_is_named(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "config.toml").write_bytes(data)
    with pytest.raises(UsageError, match=r"config\.toml is not TOML: "):
        load(tmp_path / "config.toml", {})


def test_a_byte_order_mark_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_bytes(b"\xef\xbb\xbf[crawl]\r\nlimit = 5\r\n")
    assert load(tmp_path / "config.toml", {}).section(Crawl).limit == 5


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"config\.toml does not exist"):
        load(tmp_path / "config.toml", {})
    (tmp_path / "config.toml").mkdir()
    with pytest.raises(UsageError, match=r"config\.toml cannot be read"):
        load(tmp_path / "config.toml", {})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("horse = 3", "`concepts.horse` = 3: must be a table"),
        ("horse.lables = ['a']", "`concepts.horse.lables` is not a setting; did you mean `concepts.horse.labels`?"),
        ("horse.labels = 'a'", '`concepts.horse.labels` = "a": input should be a valid tuple'),
        ("horse.queries = { horse = 'a' }", '`concepts.horse.queries.horse` = "a": input should be a valid tuple'),
    ],
)
def test_a_wrong_concept_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UsageError) as error:
        settings(tmp_path, f"[concepts]\n{text}").concepts()
    assert error.value.message.startswith(f"{tmp_path}/config.toml: {said}")


def test_the_nearest_config_above_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path / "a" / "b" / "c"
    deep.mkdir(parents=True)
    (tmp_path / "a" / "config.toml").touch()
    (tmp_path / "config.toml").touch()
    assert find(deep) == tmp_path / "a" / "config.toml"
    monkeypatch.chdir(deep)
    assert find() == tmp_path / "a" / "config.toml"


def test_no_config_above_is_said_with_the_way_to_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no config\.toml in") as error:
        find(tmp_path)
    assert "collect init" in error.value.hint


def test_a_workspace_that_cannot_be_made_says_why(tmp_path: Path) -> None:
    (tmp_path / ".collect").touch()
    (tmp_path / "config.toml").touch()
    with pytest.raises(Exception, match="cannot use") as error:
        Workspace.open(tmp_path / "config.toml", environ={})
    assert "Error" not in str(error.value)


def test_the_data_folder_can_be_moved_by_the_environment(tmp_path: Path) -> None:
    (tmp_path / "config.toml").touch()
    with Workspace.open(tmp_path / "config.toml", environ={"COLLECT__WORKSPACE__DATA": "deep/er"}) as ws:
        assert ws.data == tmp_path / "deep" / "er"
        assert (ws.data / "catalog.sqlite").is_file()
        assert ws.section(WorkspaceConfig).data == "deep/er"
    assert os.umask(0o077) == 0o077
