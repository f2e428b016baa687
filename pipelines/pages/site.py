"""Turns templates into pages: everything is escaped, and the Content-Security-Policy lets only our own files in.

That is the style, and on a page that asks for it by `script`, the few lines of keys.js.
"""

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

WHOLE = ("dedup", "quality")  # steps over all images of a workspace, which take no concept
LONGEST = 300  # letters of a stranger's text that a page shows


def renderer() -> Callable[[str, Mapping[str, Any]], bytes]:
    """A function that renders a template, given by its name without endings, to a page in UTF-8."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pipelines.pages"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # Our own files, each with its hash in the policy: nothing else is styled, and nothing else runs.
    style, keys = (_own(f"templates/{name}") for name in ("style.css", "keys.js"))
    environment.globals["style"], environment.globals["keys"] = style[0], keys[0]
    environment.globals["policy"] = (
        f"default-src 'none'; img-src data:; style-src {style[1]}; base-uri 'none'; form-action 'none'"
    )
    environment.globals["script_policy"] = f"; script-src {keys[1]}"
    environment.filters.update(
        count=_count,
        share=_share,
        figure=_figure,
        web_link=web_link,
        cut=_cut,
        shell=shlex.quote,
        command=_command,
        signed=_signed,
    )

    def render(name: str, values: Mapping[str, Any]) -> bytes:
        page = environment.get_template(f"{name}.html.j2").render(values)
        return page.encode("utf-8", "replace")  # a lone surrogate in a title must not end the report

    return render


def _own(name: str) -> tuple[Markup, str]:
    """One of our files, and its source expression in a Content-Security-Policy."""
    text = files("pipelines.pages").joinpath(name).read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return Markup(text), f"'sha256-{digest}'"


def _count(value: int) -> str:
    return f"{value:,}"


def _share(value: float | None) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:.1%}"


def _signed(value: float | None) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:+.1%}"


def _figure(value: float | None, digits: int = 3) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def _command(step: str, concept: str) -> str:
    """What to type to run a step for a concept."""
    return f"collect {step}" if step in WHOLE else f"collect {step} {shlex.quote(concept)}"


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
