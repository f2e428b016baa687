"""Does the exported network say what the run says? Asked on the pictures of validation, before it is given away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from collector.catalog import images as image_rows
from collector.errors import GateNotMet
from collector.store import Preview
from collector.workspace import Workspace
from pipelines.backbones import TorchBackbone
from pipelines.calibrate import Floats
from pipelines.engine import BATCH, Forward, cores
from pipelines.evaluate import sample_of
from pipelines.features import batched, picture
from pipelines.manifest import Manifest
from pipelines.metrics import Sample, macro
from pipelines.predict import Model

AGREEMENT = 0.999  # top-1, at least
APART = 0.01  # of any probability, at most
TIED = 0.001  # two labels so close have no order: vectors are kept in half precision, which moves them as far


@dataclass(frozen=True, slots=True)
class Parity:
    """The exported network beside the run, on `images` of validation.

    `agreement` is the share of images with the same most probable label, without `ties`, whose two most probable labels
    are less than `TIED` apart; `apart` the largest difference of a probability. `ap` is of the exported network and
    `run_ap` of the run on the same images. The run sees previews where there are any: `originals` images have one, and
    `originals_agreement` and `originals_ap` are those of the exported network on the original bytes of all.
    """

    images: int
    ties: int
    agreement: float
    apart: float
    ap: float | None
    run_ap: float | None
    originals: int
    originals_agreement: float
    originals_ap: float | None


def compare(ws: Workspace, model: Model, backbone: TorchBackbone, manifest: Manifest, forward: Forward) -> Parity:
    """Ask both about the validation images of a manifest.

    Raises:
        GateNotMet: the exported network gives values that are no numbers.
    """
    images = [row.image for row in manifest.split("validation")]
    own = model.probabilities(ws, images)
    places = image_rows.previews(ws.catalog, images)
    found = _judged(ws, backbone, images, forward, places)
    if not np.isfinite(found).all():
        raise GateNotMet(
            "the exported network gives values that are no numbers; nothing was kept",
            hint="`--precision fp32`: half precision is too narrow for this network",
        )
    shrunk = [k for k, image in enumerate(images) if places[image] is not None]
    whole = found.copy()
    if shrunk:
        whole[shrunk] = _judged(ws, backbone, [images[k] for k in shrunk], forward, {})
    ranked = np.sort(own, axis=1)
    clear = ranked[:, -1] - ranked[:, -2] >= TIED
    return Parity(
        images=len(images),
        ties=int((~clear).sum()),
        agreement=_agreement(found[clear], own[clear]),
        apart=float(np.abs(found - own).max()),
        ap=headline(sample_of(manifest, "validation", found)),
        run_ap=headline(sample_of(manifest, "validation", own)),
        originals=len(shrunk),
        originals_agreement=_agreement(whole[clear], own[clear]),
        originals_ap=headline(sample_of(manifest, "validation", whole)),
    )


def require_parity(parity: Parity, model: Model) -> None:
    """Raise a `GateNotMet` when the exported network says something else than the run."""
    if parity.agreement >= AGREEMENT and parity.apart <= APART:
        return
    raise GateNotMet(
        f"the exported network is not run {model.experiment.run}: it says the same of {parity.agreement:.2%} of "
        f"{parity.images} validation images, and a probability differs by up to {parity.apart:.3g}; nothing was kept",
        hint=f"at least {AGREEMENT:.1%} and at most {APART:g} are asked for: try `--precision fp32`, another "
        "`--format`, or train on another `--backbone`",
    )


def headline(sample: Sample) -> float | None:
    """AP as `metrics.measure` leads with it, None where it is not defined."""
    counted = sample.counted()
    each = np.array([ranking.ap() for ranking in sample.rankings()])
    each[(counted == 0) | (counted == len(sample.truth))] = np.nan
    found = float(macro(each, counted))
    return None if np.isnan(found) else found


def _agreement(found: Floats, own: Floats) -> float:
    return float((found.argmax(axis=1) == own.argmax(axis=1)).mean()) if len(own) else 1.0


def _judged(
    ws: Workspace,
    backbone: TorchBackbone,
    images: Sequence[str],
    forward: Forward,
    places: Mapping[str, Preview | None],
) -> Floats:
    """What a network says of images, (images, labels): of their previews in `places`, else of the original bytes."""
    found = []
    kind = "previews" if places else "originals"

    def shown(image: str) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        return backbone.prepare(picture(ws, image, places.get(image)))

    with ThreadPoolExecutor(cores()) as pool:
        for batch in batched(images, BATCH):
            found.append(forward(np.stack(list(pool.map(shown, batch)))).astype(np.float64))
            ws.progress(f"checking the exported network on {kind}", min(BATCH * len(found), len(images)), len(images))
    return np.concatenate(found)
