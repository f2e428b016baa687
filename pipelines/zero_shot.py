"""The zero-shot guess: what a pretrained network says of a concept before anything is labeled.

The network was trained on ImageNet's 1,000 classes, which are synsets of WordNet. Those that lie under the synset of a
label count for it: their probabilities are summed, and what no label claims is the last label, "none of them". These
sums are of a softmax that nobody fitted to these pictures, and where ImageNet has no class for a thing it is called
something else: they order pictures, they are not calibrated, and the model's name says so.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np
from numpy.typing import NDArray

from collector.errors import UsageError
from collector.negatives.meaning import understood
from collector.records import Concept
from collector.workspace import Workspace
from pipelines.backbones import Backbone, TorchBackbone, chosen, load_backbone
from pipelines.calibrate import Floats

CLASSES = 1000


@dataclass(frozen=True, slots=True, eq=False)
class ZeroShot:
    """A whole network, and the label that each of its classes counts for: `owner` is (1000,), indices of `labels`."""

    backbone: Backbone
    labels: tuple[str, ...]
    owner: NDArray[np.int64]

    @property
    def version(self) -> str:
        """The name that Label Studio shows; another network, other synsets or other labels have another."""
        said = [self.backbone.weights_digest, self.backbone.transform_digest, self.labels, self.owner.tolist()]
        digest = hashlib.sha256(json.dumps(said).encode()).hexdigest()
        return f"{self.backbone.name}-imagenet-not-calibrated-{digest[:8]}"

    @property
    def run(self) -> str | None:
        """None: no experiment trained it."""
        return None

    @property
    def calibrated(self) -> bool:
        """Never: nothing was fitted to these pictures."""
        return False

    def judge(self, vectors: NDArray[np.float32]) -> Floats:
        """The probability of every label, (images, labels), for what the network says of its classes (images, 1000)."""
        logits = vectors.astype(np.float64)
        grown = np.exp(logits - logits.max(axis=1, keepdims=True))
        counts = np.eye(len(self.labels))[self.owner]
        return np.asarray(grown / grown.sum(axis=1, keepdims=True) @ counts)


def zero_shot(ws: Workspace, concept: Concept) -> ZeroShot:
    """The guess of `train.backbone` about a concept.

    Raises:
        UsageError: the backbone knows no classes; or a label has no synset, or ImageNet no class under it.
        CollectError: the weights cannot be had.
    """
    name, weights = chosen(ws, None, None)
    backbone = load_backbone(name, weights)
    if not isinstance(backbone, TorchBackbone):
        raise UsageError(
            f"the backbone `{name}` knows no classes, so it cannot guess without labels",
            hint="set `train.backbone` in config.toml to a pretrained network such as squeezenet1_1",
        )
    synsets = understood(ws, concept, needed=True).synsets
    return ZeroShot(backbone.whole(CLASSES), concept.labels, owners(concept, synsets))


def owners(concept: Concept, synsets: Mapping[str, str]) -> NDArray[np.int64]:
    """For each of ImageNet's classes the index of the label that it counts for, by label -> synset: (1000,).

    Of two labels above a class the lower one gets it: a zebra is no `equine` where `zebra` is a label, too.

    Raises:
        UsageError: a label has no class.
    """
    above = _above()
    owner = np.full(CLASSES, len(concept.labels) - 1)
    height = {label: len(_line(wnid, above)) for label, wnid in synsets.items()}
    for label in sorted(synsets, key=lambda label: height[label]):
        mine = [k for k, wnid in enumerate(list(above)[:CLASSES]) if synsets[label] in _line(wnid, above)]
        if not mine:
            raise UsageError(
                f"none of ImageNet's 1,000 classes is a `{label}` ({synsets[label]}), so nothing can be guessed of it",
                hint="label some pictures by hand, then `collect train-baseline`; or, if another synset is meant: "
                f"`concepts.{concept.name}.synsets`",
            )
        owner[mine] = concept.labels.index(label)
    return owner


def _line(wnid: str, above: Mapping[str, tuple[str, ...]]) -> set[str]:
    """A synset and everything above it."""
    found, waiting = set[str](), [wnid]
    while waiting:
        each = waiting.pop()
        if each not in found:
            found.add(each)
            waiting += above.get(each, ())
    return found


@cache
def _above() -> dict[str, tuple[str, ...]]:
    """Synset -> the synsets directly above it; the first 1,000 are ImageNet's classes, in the networks' order."""
    lines = resources.files("pipelines").joinpath("imagenet_synsets.tsv").read_text("utf-8").splitlines()
    rows = [line.split("\t") for line in lines if not line.startswith("#")]
    return {wnid: tuple(up.split(",")) if up else () for wnid, up in rows}
