"""Real answers of several annotators, read from ../shared where it is there; and small drawn tables."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from labeling.agreement import MISSING, Answers, Ints

_DATA = Path(__file__).resolve().parents[2].parent / "shared/data/agreement"


def bluebirds() -> tuple[Answers, dict[str, str]]:
    """39 annotators x 108 pictures, two classes, with the truth."""
    text = _read("bluebirds/labels.yaml")
    rows = [
        (image, worker, label)
        for worker, body in re.findall(r"(\w+): \{([^}]*)\}", text)
        for image, label in re.findall(r"(\d+): (true|false)", body)
    ]
    return Answers.tabulate(rows), dict(re.findall(r"(\d+): (true|false)", _read("bluebirds/gt.yaml")))


def dogs() -> tuple[Answers, dict[str, str]]:
    """109 annotators, 807 pictures, ten labels each, four breeds, with the truth."""
    given = csv.DictReader(_read("dogs/answer.csv").splitlines())
    truth = csv.DictReader(_read("dogs/truth.csv").splitlines())
    # Padded, because the reference intervals were drawn over tasks sorted as numbers.
    return (
        Answers.tabulate([(row["question"].zfill(4), row["worker"], row["answer"]) for row in given]),
        {row["question"].zfill(4): row["truth"] for row in truth},
    )


def of_matrix(matrix: Ints, labels: int) -> Answers:
    """Answers with made-up names around a matrix."""
    tasks, annotators = matrix.shape
    task, annotator = np.nonzero(matrix != MISSING)
    return Answers(
        tuple(f"t{i:04}" for i in range(tasks)),
        tuple(f"a{i}" for i in range(annotators)),
        tuple(f"label{i}" for i in range(labels)),
        task,
        annotator,
        matrix[task, annotator].astype(np.int64),
    )


def matrices(labels: int = 3) -> st.SearchStrategy[Ints]:
    """Any ragged table of answers: 1 to 25 tasks, 1 to 5 annotators."""
    shape = st.tuples(st.integers(1, 25), st.integers(1, 5))
    return npst.arrays(np.int64, shape, elements=st.integers(MISSING, labels - 1))


def _read(name: str) -> str:
    path = _DATA / name
    if not path.is_file():
        pytest.skip(f"the real answers are not on this machine: shared/data/agreement/{name}")
    return path.read_text(encoding="utf-8")
