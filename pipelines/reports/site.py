"""Turns templates into pages: everything is escaped, and the Content-Security-Policy lets only our own style in."""

from __future__ import annotations

import base64
import hashlib
import math
import shlex
from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import Any

import jinja2
from markupsafe import Markup

from collector.credits import web_link

LONGEST = 300  # letters of a stranger's text that a page shows


def renderer() -> Callable[[str, Mapping[str, Any]], bytes]:
    """A function that renders a template, given by its name without endings, to a page in UTF-8."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pipelines.reports"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = files("pipelines.reports").joinpath("templates/style.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    environment.globals["style"] = Markup(style)  # our own file, and what the hash in the policy is of
    environment.globals["policy"] = (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    environment.filters.update(
        count=_count, share=_share, figure=_figure, web_link=web_link, cut=_cut, shell=shlex.quote
    )

    def render(name: str, values: Mapping[str, Any]) -> bytes:
        page = environment.get_template(f"{name}.html.j2").render(values)
        return page.encode("utf-8", "replace")  # a lone surrogate in a title must not end the report

    return render


def _count(value: int) -> str:
    return f"{value:,}"


def _share(value: float | None) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:.1%}"


def _figure(value: float | None, digits: int = 3) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
