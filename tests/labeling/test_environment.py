from __future__ import annotations

from pathlib import Path

import pytest

from collector.errors import CollectError
from labeling import environment

STRAY = (
    *("PORT", "HOST", "DEBUG", "PASSWORD", "USERNAME", "CI", "LABEL_STUDIO_HOST", "HEARTEX_PORT", "SENTRY_DSN"),
    *("DJANGO_DB", "POSTGRE_HOST", "AWS_SECRET_ACCESS_KEY", "HTTPS_PROXY", "COLLECT_LABEL_TOKEN"),
)


def test_without_uv_the_hint_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UV", raising=False)
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(CollectError, match="needs uv") as caught:
        environment.install()
    assert caught.value.hint == "`pip install uv`"


def test_without_a_network_the_package_index_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("UV_NO_CONFIG", "1")
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    said: list[str] = []
    with pytest.raises(CollectError, match=r"127\.0\.0\.1:9") as caught:
        environment.install(lambda text, done, total: said.append(text))
    assert "network" in caught.value.hint
    assert said == ["installing Label Studio 1.23.2 (about 1 GB, once)"]


def test_label_studio_hears_only_what_it_needs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in STRAY:
        monkeypatch.setenv(name, "stray")
    monkeypatch.setenv("UV_OFFLINE", "1")
    variables = environment.variables(tmp_path)
    assert "stray" not in variables.values()
    assert variables["UV_OFFLINE"] == "1"
    assert not any("proxy" in name.lower() for name in variables)  # it would carry requests past the confinement
    assert variables["LABEL_STUDIO_SENTRY_DSN"] == ""
    assert variables["LABEL_STUDIO_SSRF_PROTECTION_ENABLED"] == "true"
