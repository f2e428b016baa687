"""`collect export-model`: a finished run as one file that needs no `collect`, checked, with its card and credits."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from collector import durable
from collector.errors import CollectError, GateNotMet, UsageError
from collector.records import Summary
from collector.workspace import Workspace
from pipelines.backbones import file_digest
from pipelines.carry.card import calibration_figure, card
from pipelines.carry.facts import Facts, attribution, gather
from pipelines.carry.formats import OPSET, Form, require
from pipelines.carry.network import PIXELS, PROBABILITIES, backbone_of, classifier, transform
from pipelines.carry.parity import Parity, compare, require_parity
from pipelines.folder_sums import SUMS, line
from pipelines.predict import load_model

RECORD = "model.json"
UNFINISHED = ".unfinished"  # after the name of the folder, while it is made


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportModelSummary(Summary):
    """What lies in the folder `path`: `file` is the network, `bytes` are those of all files of it.

    Checked on `images` of validation: `agreement` is the share of them with the same most probable label as in the run,
    without `ties`, and `apart` the largest difference of a probability; `ap` is of the exported network, `run_ap` of
    the run. `originals` images have a preview, which the run saw: on the original bytes of all images the exported
    network has `originals_agreement` and `originals_ap`. `changed` is False where all of it was there already.
    """

    concept: str
    run: str
    snapshot: str
    backbone: str
    format: str
    precision: str
    path: str
    file: str
    bytes: int
    labels: list[str]
    threshold: float
    temperature: float
    images: int
    ties: int
    agreement: float
    apart: float
    ap: float | None
    run_ap: float | None
    originals: int
    originals_agreement: float
    originals_ap: float | None
    changed: bool

    def for_people(self) -> dict[str, Any]:
        """The largest difference with an exponent: three digits would say 0."""
        return super(ExportModelSummary, self).for_people() | {"apart": f"{self.apart:.1e}"}


@dataclass(frozen=True, slots=True)
class Wanted:
    """One export: the facts of a run, and how its network is written."""

    facts: Facts
    format: str
    precision: str
    form: Form

    @property
    def plan(self) -> dict[str, Any]:
        """All that decides the network; it is made once."""
        done = self.facts.model.experiment
        return {
            "run": done.run,
            "format": self.format,
            "precision": self.precision,
            "weights_digest": self.facts.backbone.weights_digest,
            "transform_digest": self.facts.backbone.transform_digest,
            "temperature": self.facts.model.head.temperature,
        }

    def about(self) -> dict[str, Any]:
        """What whoever uses the network has to know, and where it comes from; also written into the file itself."""
        model = self.facts.model
        return {
            "concept": model.experiment.concept,
            "labels": list(model.labels),
            "threshold": float(self.facts.found["threshold"]),
            "temperature": model.head.temperature,
            "input": {"name": PIXELS, "type": "uint8", "shape": ["any", *self._picture, 3], "colors": "RGB, upright"},
            "output": {"name": PROBABILITIES, "type": "float32", "shape": ["any", len(model.labels)]},
            "transform": transform(self.facts.backbone),
            "run": model.experiment.run,
            "snapshot": model.experiment.snapshot,
            "backbone": self.facts.backbone.name,
        }

    @property
    def _picture(self) -> tuple[int, int]:
        return (self.facts.backbone.layout.crop,) * 2


def export_model(  # one for each option of the command
    ws: Workspace,
    out: str | Path,
    concept: str | None = None,
    *,
    run: str | None = None,
    format: str = "onnx",
    precision: str = "fp32",
) -> ExportModelSummary:
    """Write the newest finished run of a concept, or `run`, into the folder `out` as one network, with its card.

    The network is compared with the run on all images of validation before it gets its name. The same command again
    leaves the network alone, and brings the card up to date (errata and looks at the test split change).

    Args:
        ws: the workspace.
        out: the folder, which holds nothing else.
        concept: its name; may be left out when there is one only.
        run: the beginning of a run's id.
        format: `onnx`, `openvino` or `tensorrt`.
        precision: `fp32`, or `fp16` for the backbone in half precision.

    Raises:
        UsageError: the run has no network, or the folder holds something else.
        CollectError: a package is missing, PyTorch cannot export this network, or files in the folder were changed.
        GateNotMet: nothing was trained yet, or the exported network says something else than the run.
    """
    form = require(format)
    model = load_model(ws, ws.concept(concept).name, run)
    backbone = backbone_of(model)
    folder = Path(os.path.abspath(out))
    name = hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]
    with ws.lock(f"export-{name}"), durable.explained(folder):
        ws.progress("reading the record of the run", 0, None)
        facts = gather(ws, model, backbone)
        wanted = Wanted(facts, format, precision, form)
        if not facts.manifest.split("validation"):
            raise GateNotMet("no image of validation is left to check the network on", hint="train on a new snapshot")
        known = _finished(folder, wanted)
        if known is None:
            known = _make(ws, folder, wanted)
            changed = True
        else:
            changed = _write_papers(folder, wanted, known)
        return _summary(folder, wanted, known, changed=changed)


def _finished(folder: Path, wanted: Wanted) -> dict[str, Any] | None:
    """model.json of a folder that holds this very network, whole; None where there is nothing yet."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return None
    try:
        record = dict(json.loads((folder / RECORD).read_bytes()))
        plan, files = record["plan"], record["files"]
    except (OSError, ValueError, KeyError, TypeError):
        raise UsageError(
            f"{folder} is there already, and is no exported model", hint="name a folder that does not exist"
        ) from None
    if plan != wanted.plan:
        raise UsageError(
            f"{folder} holds another model ({plan['format']} of run {plan['run']}, {plan['precision']})",
            hint="name another folder, or remove this one",
        )
    files = {**files, RECORD: _listed(folder).get(RECORD)}
    broken = [name for name, digest in files.items() if _digest(folder / name) != digest]
    if broken:
        raise CollectError(
            f"{' and '.join(broken)} in {folder} changed since the export", hint="remove the folder and export again"
        )
    return record


def _listed(folder: Path) -> dict[str, str]:
    """Name -> sha256, as SHA256SUMS has them."""
    path = folder / SUMS
    lines = path.read_text("utf-8").splitlines() if path.is_file() else []
    return {name: digest for digest, _, name in (each.partition("  ") for each in lines)}


def _make(ws: Workspace, folder: Path, wanted: Wanted) -> dict[str, Any]:
    """Write the network and its papers into a draft, check it there, and give the draft its name."""
    model, backbone = wanted.facts.model, wanted.facts.backbone
    about = wanted.about()
    with _draft(folder) as draft:
        ws.progress(f"writing {backbone.name} as {wanted.format}", 0, None)
        module = classifier(backbone, model.head, half=wanted.precision == "fp16")
        texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in about.items()}
        wanted.form.write(module, backbone.layout.crop, draft, texts)
        written = sorted(path.name for path in draft.iterdir())
        parity = compare(ws, model, backbone, wanted.facts.manifest, wanted.form.open(draft))
        require_parity(parity, model)
        record = {
            **about,
            "format": wanted.format,
            "precision": wanted.precision,
            "opset": OPSET,
            "plan": wanted.plan,
            "parity": asdict(parity),
            "files": {name: _digest(draft / name) for name in written},
        }
        for name in written:
            _sync(draft / name)
        _write_papers(draft, wanted, record)
    return record


@contextmanager
def _draft(folder: Path) -> Iterator[Path]:
    """A folder to fill, which takes its name when the block ends well, and is gone when it does not."""
    draft = folder.with_name(folder.name + UNFINISHED)
    if draft.exists() and not (draft / RECORD).exists() and not all(_ours(path) for path in draft.iterdir()):
        raise UsageError(f"{draft} is there already, and is no unfinished export", hint="move it elsewhere")
    shutil.rmtree(draft, ignore_errors=True)
    durable.make_folder(draft)
    try:
        yield draft
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    durable.sync_folder(draft)
    os.replace(draft, folder)
    durable.sync_folder(folder.parent)


def _ours(path: Path) -> bool:
    return path.is_file() and path.name.startswith("model.")


def _write_papers(folder: Path, wanted: Wanted, record: dict[str, Any]) -> bool:
    """Write card, credits, figure, record and sums where they differ from what is there; whether any did.

    Raises:
        CollectError: somebody has edited one of them.
    """
    parity = Parity(**record["parity"])
    texts = {
        RECORD: (json.dumps(record, indent=1, ensure_ascii=False) + "\n").encode("utf-8", "replace"),
        "README.md": card(wanted.facts, wanted.format, wanted.precision, parity),
        "ATTRIBUTION.md": attribution(wanted.facts),
        "calibration.svg": calibration_figure(wanted.facts),
    }
    listed = _listed(folder)
    for name, data in texts.items():
        if name in listed and not _holds(folder / name, data) and _digest(folder / name) not in ("", listed[name]):
            raise CollectError(
                f"{name} in {folder} was edited, and would be written anew",
                hint="move it elsewhere, then run this again",
            )
    sums = record["files"] | {name: hashlib.sha256(data).hexdigest() for name, data in texts.items()}
    texts[SUMS] = "".join(line(name, digest) for name, digest in sorted(sums.items())).encode()
    changed = [name for name, data in texts.items() if not _holds(folder / name, data)]
    for name in changed:
        durable.write(folder / name, texts[name])
    return bool(changed)


def _holds(path: Path, data: bytes) -> bool:
    return path.is_file() and path.read_bytes() == data


def _digest(path: Path) -> str:
    return file_digest(path) if path.is_file() else ""


def _sync(path: Path) -> None:
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def _summary(folder: Path, wanted: Wanted, record: dict[str, Any], *, changed: bool) -> ExportModelSummary:
    parity = record["parity"]
    done = wanted.facts.model.experiment
    return ExportModelSummary(
        concept=done.concept,
        run=done.run,
        snapshot=done.snapshot,
        backbone=wanted.facts.backbone.name,
        format=wanted.format,
        precision=wanted.precision,
        path=str(folder),
        file=wanted.form.file,
        bytes=sum((folder / name).stat().st_size for name in record["files"]),
        labels=record["labels"],
        threshold=record["threshold"],
        temperature=record["temperature"],
        **parity,
        changed=changed,
        warnings=tuple(_warnings(Parity(**parity))),
        next=f"uvx netron {shlex.quote(str(folder / wanted.form.file))}",
    )


def _warnings(parity: Parity) -> Iterator[str]:
    if parity.originals_agreement < 0.99:
        yield (
            f"on original bytes the network says the same as on previews for {parity.originals_agreement:.1%} of the "
            "validation images only: expect the figures of the originals"
        )
