"""Which backbone: those whose weights are on this machine, tried on some training pictures, and timed."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from collector import durable
from collector.catalog import images as image_rows
from collector.errors import CollectError
from collector.workspace import Workspace
from pipelines.backbones import Backbone, chosen, load_backbone
from pipelines.backbones.vision import names as torchvision_names
from pipelines.calibrate import Floats, Ints
from pipelines.config import TrainConfig
from pipelines.evaluate import truth_of
from pipelines.features import features, picture
from pipelines.head import Examples, learn
from pipelines.manifest import Manifest
from pipelines.ranking import average_precision

AUTO = "auto"
IMAGES = 1000  # training pictures that a backbone is tried on
LABELS = 100  # labels of these at most: ten pictures each
TIMED = 32  # of them, how many are timed
DRAWS = 200  # bootstrap resamples behind the standard error


@dataclass(frozen=True, slots=True)
class Probe:
    """A backbone, its cross-validated AP with the standard error of it, and pictures a second on one thread."""

    backbone: str
    weights: str | None
    ap: float
    ap_error: float
    images_per_second: float


def at_hand(ws: Workspace) -> dict[str, str | None]:
    """Backbone -> file of its weights, for `classic`, `train.backbone` with `train.weights`, and what was fetched."""
    import torch
    from torchvision.models import get_model_weights

    found: dict[str, str | None] = {"classic": None}
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    for name in torchvision_names():
        url = getattr(getattr(get_model_weights(name), "DEFAULT", None), "url", "")
        file = folder / url.rsplit("/", 1)[-1]
        if url and file.is_file():
            found[name] = str(file)
    name, weights = chosen(ws, None, None)
    return {**found, name: str(weights)} if weights else found


def probe(ws: Workspace, manifest: Manifest) -> tuple[Probe, tuple[str, ...]]:
    """Try every backbone at hand: the one to take, and what there is to say, the table with the reason first.

    Taken is the fastest of those whose AP is within one standard error of the best (Breiman, Friedman, Olshen and
    Stone, 1984, 3.4.3): among pictures that were not learned from, the data cannot tell those apart.

    Raises:
        CollectError: none could be tried.
    """
    rows = manifest.split("train")
    kept, labels, truth = _tried(truth_of(manifest, "train"), manifest.labels, ws.seed)
    images, groups = [rows[k].image for k in kept], [rows[k].group for k in kept]
    found: list[Probe] = []
    failed: list[str] = []
    hand = at_hand(ws)
    for number, (name, weights) in enumerate(hand.items()):
        ws.progress(f"trying backbones: {name}", number, len(hand))
        try:
            backbone = load_backbone(name, weights)
            given = Examples(features(ws, images, backbone), truth, groups, labels)
            held = learn(given, ws.section(TrainConfig), ws.seed).held
            if held is None:
                raise CollectError("all training images are of one near-duplicate group")
            ap, error = _measured(held, truth, ws.seed)
            found.append(Probe(name, weights, ap, error, _pace(ws, images[:TIMED], backbone)))
        except CollectError as error_:
            failed.append(f"{name} could not be tried: {error_.message}")
    if not found:
        raise CollectError(f"no backbone could be tried: {'; '.join(failed)}", hint="name one with --backbone")
    taken = choose(found)
    durable.save(
        ws.data / "probes" / f"{manifest.digest()[:16]}.json",
        json.dumps([asdict(each) for each in found], indent=1).encode(),
    )
    return taken, (reason(found, taken), *failed)


def _tried(truth: Ints, labels: Sequence[str], seed: int) -> tuple[Ints, tuple[str, ...], Ints]:
    """The images that backbones are tried on, the labels that they have, and which of these each one has.

    Of a thousand labels `LABELS` are drawn: nothing can be learned where each has a picture.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(truth))
    present = np.unique(truth)
    if len(present) > LABELS:
        present = np.sort(rng.permutation(present)[:LABELS])
        order = order[np.isin(truth[order], present)]
    kept = order[:IMAGES]
    chosen = tuple(labels[k] for k in present)
    return kept, chosen, np.searchsorted(present, truth[kept])


def choose(found: Sequence[Probe]) -> Probe:
    """The fastest of those whose AP is within one standard error of the best."""
    best = max(found, key=lambda each: each.ap)
    return max(
        (each for each in found if each.ap >= best.ap - best.ap_error),
        key=lambda each: (each.images_per_second, each.ap),
    )


def front(found: Sequence[Probe]) -> list[Probe]:
    """Those that no other one beats both in AP and in pace (Pareto), the best AP first."""

    def beaten(one: Probe) -> bool:
        mine = (one.ap, one.images_per_second)
        return any(
            (each.ap, each.images_per_second) != mine
            and each.ap >= one.ap
            and each.images_per_second >= one.images_per_second
            for each in found
        )

    return sorted((each for each in found if not beaten(each)), key=lambda each: -each.ap)


def reason(found: Sequence[Probe], taken: Probe) -> str:
    """The table in a sentence, and why that one was taken."""
    ahead = {each.backbone for each in front(found)}
    rows = [
        f"{each.backbone} AP {each.ap:.3f} at {each.images_per_second:.0f} img/s"
        + ("" if each.backbone in ahead else " (beaten in both)")
        for each in sorted(found, key=lambda each: -each.ap)
    ]
    best = max(found, key=lambda each: each.ap)
    why = (
        "it is the best"
        if taken is best
        else f"it is the fastest within one standard error ({best.ap_error:.3f}) of {best.backbone}"
    )
    return f"backbones on this machine, cross-validated on train: {', '.join(rows)}. Taken: {taken.backbone}, {why}"


def _measured(held: Floats, truth: Ints, seed: int) -> tuple[float, float]:
    """AP of the concept, of several labels their mean; and its standard error by the bootstrap over images."""
    rng = np.random.default_rng(seed)

    def ap(rows: Ints) -> float:
        labels = range(1 if held.shape[1] == 2 else held.shape[1])
        each = [average_precision(truth[rows] == k, held[rows, k]) for k in labels if (truth[rows] == k).any()]
        return float(np.mean(each)) if each else float("nan")

    draws = [ap(rng.integers(0, len(truth), len(truth))) for _ in range(DRAWS)]
    return ap(np.arange(len(truth))), float(np.nanstd(draws))


def _pace(ws: Workspace, images: Sequence[str], backbone: Backbone) -> float:
    """Pictures a second, from their bytes to their vectors, on one thread."""
    places = image_rows.previews(ws.catalog, images)

    def through(part: Sequence[str]) -> None:
        backbone.embed(np.stack([backbone.prepare(picture(ws, image, places[image])) for image in part]))

    parts = [images[start : start + backbone.batch] for start in range(0, len(images), backbone.batch)]
    with backbone.ready():
        through(parts[0])  # the first one also builds the network
        begun = time.perf_counter()
        for part in parts:
            through(part)
        return len(images) / (time.perf_counter() - begun)
