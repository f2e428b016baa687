"""The card of a model: what it says is what the record says, and strangers' text stays text."""

from __future__ import annotations

import html
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard, ModelCardData
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from collector.catalog import labels
from collector.credits import plain
from collector.records import License
from collector.workspace import Workspace
from labeling.errata import open_erratum
from pipelines.carry.card import calibration_figure, card
from pipelines.carry.facts import Facts, attribution, gather
from pipelines.carry.network import backbone_of
from pipelines.carry.origin import licenses
from pipelines.carry.parity import Parity
from pipelines.evaluate import evaluate
from pipelines.forget import forget
from pipelines.markdown import Markdown, code, linked, table, text
from pipelines.predict import load_model
from tests.pipelines.carried import copied, home

__all__ = ["home"]

RENDER = MarkdownIt("commonmark").enable("table")
SAME = Parity(10, 1, 1.0, 2e-5, 0.91, 0.92, 4, 0.75, 0.9)
HOSTILE = "</style><script>alert(1)</script> | [x](javascript:alert(1)) `code` ![y](https://x.example/z.png)"


def facts_of(ws: Workspace) -> Facts:
    model = load_model(ws, "horse")
    return gather(ws, model, backbone_of(model))


def card_of(facts: Facts) -> str:
    return card(facts, "onnx", "fp32", SAME).decode()


def cells(rendered: str) -> list[str]:
    """What stands in the body of the tables of a page."""
    return [html.unescape(each) for each in re.findall(r"<td>(.*?)</td>", rendered, re.DOTALL)]


@given(st.text(min_size=1))
def test_any_text_in_a_table_is_shown_as_it_is(value: str) -> None:
    shown = cells(RENDER.render(table(("a", "b"), [(value, "end")])))
    assert shown == [plain(value), "end"]


@given(st.text(min_size=1).filter(lambda value: plain(value).strip("` ") != ""))
def test_any_text_in_a_code_span_is_shown_as_it_is(value: str) -> None:
    shown = re.fullmatch(r"<p>so <code>(.*)</code></p>\n", RENDER.render(f"so {code(value)}"), re.DOTALL)
    assert shown is not None
    assert html.unescape(shown[1]) == plain(value)


def test_only_web_pages_become_links() -> None:
    assert linked("a|b", "https://x.example/") == Markdown("[a\\|b](<https://x.example/>)")
    for address in ("javascript:alert(1)", "https://x.example/>\nb", "https://x.example/|", ""):
        assert linked("a", address) == Markdown("a")


def test_hugging_face_reads_the_front_matter(home: Workspace) -> None:
    facts = facts_of(home)
    read = ModelCard(card_of(facts)).data
    assert isinstance(read, ModelCardData)
    assert (read.pipeline_tag, read.library_name, read.license) == ("image-classification", "onnx", "unknown")
    results = read.eval_results
    assert results is not None
    found = {each.metric_type: each.metric_value for each in results}
    assert found["average_precision"] == pytest.approx(facts.found["ap"], abs=1e-6)
    assert {each.dataset_split for each in results} == {"validation"}
    assert {each.dataset_revision for each in results} == {facts.snapshot.digest}


def test_the_card_has_the_figures_of_the_run_with_their_intervals(home: Workspace) -> None:
    facts = facts_of(home)
    said, found = card_of(facts), facts.found
    for name in ("ap", "error", "brier", "nll", "ece"):
        assert f"{found[name]:.4f} ({found[f'{name}_low']:.4f} to {found[f'{name}_high']:.4f})" in said
    for figure in (found["ece"], found["majority_error"], found["threshold"]):
        assert f"{figure:.4f}" in said
    run = facts.model.experiment
    for word in (run.run, run.snapshot, run.config["weights_digest"], run.config["protocol"]["digest"]):
        assert word in said
    assert "was never opened" in said
    assert "The test split was not opened for this run" in said
    assert "under 30 validation images" in said.lower()
    assert "(1 with two labels closer than 0.001 left out)" in said
    assert "agrees for 75.00%, with an AP of 0.9000" in said


def test_recall_at_a_precision_has_its_interval_on_the_card_where_it_is_known(home: Workspace) -> None:
    facts = facts_of(home)
    told = {
        "recall_at_precision": {"0.9": 0.5, "0.95": 0.25},
        "recall_at_precision_low": {"0.9": 0.375, "0.95": None},
        "recall_at_precision_high": {"0.9": 0.625, "0.95": None},
    }
    done = facts.model.experiment._replace(metrics={**facts.found, **told})
    said = card_of(replace(facts, model=replace(facts.model, experiment=done)))
    assert "| recall at precision 0.9 | 0.5000 (0.3750 to 0.6250) |" in said
    assert "| recall at precision 0.95 | 0.2500 |" in said


def test_a_thousand_labels_do_not_fill_the_card(home: Workspace) -> None:
    facts = facts_of(home)
    names = (*facts.manifest.labels, *(f"label {k}" for k in range(998)))
    said = card_of(replace(facts, manifest=replace(facts.manifest, labels=names)))
    assert "label 17 and 980 more, which `model.json` lists" in said
    assert "label 30" not in said
    assert len(said) < len(card_of(facts)) + 4000


def test_the_counts_are_those_of_the_snapshot(home: Workspace) -> None:
    facts = facts_of(home)
    rendered = RENDER.render(card_of(facts).partition("\n---\n\n")[2])
    counts = facts.manifest.counts()
    shown = cells(rendered)
    for split in ("train", "validation", "test"):
        row = [split, *(str(n) for n in counts[split].values()), str(sum(counts[split].values()))]
        assert "\n".join(row) in "\n".join(shown)
    assert ["made", str(len(facts.manifest.rows))] == shown[shown.index("made") : shown.index("made") + 2]
    assert facts.tally.images == len(facts.manifest.rows)
    assert facts.tally.people == {2: len(facts.manifest.rows)}
    assert facts.agreement.value == 1.0


def test_the_card_of_the_same_record_has_the_same_bytes(home: Workspace) -> None:
    one, other = facts_of(home), facts_of(home)
    assert card_of(one) == card_of(other)
    assert calibration_figure(one) == calibration_figure(other)
    assert b"<svg" in calibration_figure(one)


def test_looks_errata_guidelines_and_prevalence_are_on_the_card(home: Workspace, tmp_path: Path) -> None:
    with copied(home, tmp_path / "changed") as ws:
        config = ws.root / "config.toml"
        config.write_text(config.read_text("utf-8") + "[evaluate]\nprevalence = 0.001\n", encoding="utf-8")
    with Workspace.open(tmp_path / "changed" / "config.toml", environ={}) as ws:
        before = facts_of(ws)
        evaluate(ws, "horse")
        row = next(each for each in before.manifest.split("validation") if each.label == "horse")
        open_erratum(ws, row.image, should_be="not-horse", why=HOSTILE, by=HOSTILE, concept="horse")
        about: dict[str, Any] = {"labels": ["horse", "not-horse"], "guideline": "", "guideline_hash": "ab" * 32}
        rules = {"overlap": 1, "blind": True, "purpose": "pool", "proposals": False, "projects": {}}
        labels.open_round(ws.catalog, "horse", HOSTILE, about | rules)
        facts = facts_of(ws)
    assert (before.openings, before.test, before.errata, before.guidelines) == (0, None, {}, {})
    assert (facts.openings, facts.errata, facts.guidelines) == (1, {"validation": 1}, {HOSTILE: "ab" * 32})
    assert facts.test is not None
    said = card_of(facts)
    assert "was opened once" in said
    assert "1 in validation" in said
    assert "ab" * 32 in said
    assert "Where 0.001 of all pictures are horse, its precision is" in said
    assert "| test |" in said
    rendered = RENDER.render(said.partition("\n---\n\n")[2])
    assert "<script" not in rendered
    assert "javascript:" not in re.sub(r">[^<]*<", "><", rendered)
    assert rendered.count("<img") == 1  # calibration.svg


def test_forgotten_pictures_are_counted_and_named_nowhere(home: Workspace, tmp_path: Path) -> None:
    with copied(home, tmp_path / "less") as ws:
        before = facts_of(ws)
        gone = before.manifest.split("train")[0].image
        forget(ws, gone, yes=True)
        facts = facts_of(ws)
        assert facts.forgotten == 1
        assert gone in attribution(before).decode()
        assert gone not in attribution(facts).decode()
        assert "1 more pictures were in it and have been forgotten" in card_of(facts)


def test_what_licenses_touch_is_said_in_plain_words(home: Workspace) -> None:
    facts = facts_of(home)
    facts.tally.licenses.clear()
    facts.tally.licenses.update({License("cc0", "1.0"): 5})
    assert "- Nothing is asked for" in "\n".join(licenses(facts))
    kinds = {"by-sa": 1, "by-nc": 2, "by-nd": 4, "unlicensed": 8}
    facts.tally.licenses.update({License(kind, "4.0"): n for kind, n in kinds.items()})
    said = "\n".join(licenses(facts))
    for words in (
        "7 pictures ask for credit",
        "1 pictures are share-alike",
        "2 pictures must not be used commercially",
    ):
        assert words in said
    assert "4 pictures must not be given on changed" in said
    assert "8 pictures have no license: do not publish" in said


def test_text_escapes_what_markdown_and_html_give_a_meaning_to() -> None:
    assert RENDER.render(f"so {text(HOSTILE)}") == f"<p>so {html.escape(HOSTILE, quote=False)}</p>\n"
