"""Draw what validates, tests and calibrates before anything is trained, and say how unlike the pool it is.

How unlike two sets are is told by the population stability index, PSI = sum of (a - e) ln(a / e) over the shares a and
e of each bin: below 0.1 nothing, above 0.25 a lot (Siddiqi, Credit Risk Scorecards, 2006). Small sets differ by chance
alone (Yurdakul and Naranjo, Statistical properties of the population stability index, Journal of Risk Model Validation
14 (2020) 4). So an alarm must also exceed what random draws of the same size from the same pool give.
"""

from __future__ import annotations

import math
import shlex
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from collector import splits
from collector.catalog import compile as record
from collector.catalog import pools
from collector.errors import GateNotMet
from collector.fingerprints import DCT
from collector.intake import fill_fingerprints
from collector.records import Concept, Summary
from collector.splits import SplitsConfig, position, require_untouched
from collector.workspace import Workspace
from pipelines.features import ID, Ids, folders, known, read, shards
from pipelines.manifest import HELD_OUT, SPLITS, Manifest

if TYPE_CHECKING:
    import pandas as pd

UNLIKE, FAR = 0.2, 0.25  # PSI
FEATURES = ("source", "license", "size", "embedding")
SIZES = 10  # bins of equal numbers of images
KINDS = 16  # bins of the embedding: the nearest of so many images of the pool
COVERED = 0.9  # of each split must have vectors: then these stand for the embedding, not the 256-bit hash
NOWHERE = -1  # the bin of an image that a feature says nothing of: it is left out there
DRAWS = 10_000  # random draws behind what chance gives
BY_CHANCE = 0.01  # how often chance alone raises an alarm, over all splits and features together
TINY = 20  # images: fewer in a pool, or in a split, measure nothing
Ints = NDArray[np.int64]
Psi = dict[str, dict[str, float | None]]  # split -> feature -> how unlike; None where the split is empty


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitSummary(Summary):
    """Images of the pool by split, `drawn` of them just now; `rules` by which they were drawn -> images.

    `psi` is split -> feature -> how unlike the pool it is, `psi_by_chance` what it must exceed to be more than chance;
    None where a split is empty. `embedding` says by what: vectors, where nearly all images have some of one network (as
    after training and prelabel), or the hash of their looks.
    """

    concept: str
    pool: int
    drawn: int
    train: int
    calibration: int
    validation: int
    test: int
    rules: dict[str, int]
    psi: dict[str, dict[str, float | None]]
    psi_by_chance: dict[str, dict[str, float | None]]
    embedding: str


def split(ws: Workspace, concept: str | None = None) -> SplitSummary:
    """Draw a split for every image of the pool that has none, once and for all, and compare each with the pool.

    Raises:
        GateNotMet: the pool is empty.
        CollectError: the table of splits was edited by hand.
    """
    about = ws.concept(concept)
    name = shlex.quote(about.name)
    before = pools.splits(ws.catalog, about.name)
    home = splits.draw(ws, about)
    if not home:
        raise GateNotMet(f"the pool of `{about.name}` is empty", hint=f"`collect crawl {name}` fills it")
    fill_fingerprints(ws)
    frame = _members(ws, about, home)
    require_untouched(about.name, frame[["image", "split", "rule"]].itertuples(index=False, name=None))
    counts = Counter(home.values())
    psi, chance = _unlikeness(frame, ws.seed)
    return SplitSummary(
        concept=about.name,
        pool=len(home),
        drawn=len(home.keys() - before.keys()),
        **{each: counts[each] for each in SPLITS},
        rules=dict(sorted(Counter(frame["rule"]).items())),
        psi=psi,
        psi_by_chance=chance,
        embedding=str(frame.attrs["embedding"]),
        next=f"collect label push {name}",
        warnings=(*_sizes(ws, counts, len(home)), *_alarms(psi, chance)),
    )


def against_pool(ws: Workspace, about: Concept) -> tuple[Psi, Psi]:
    """How unlike the pool each held-out split is as it was drawn, and what must be exceeded to be more than chance."""
    return _unlikeness(_members(ws, about, pools.splits(ws.catalog, about.name)), ws.seed)


def _unlikeness(frame: pd.DataFrame, seed: int) -> tuple[Psi, Psi]:
    psi: Psi = {}
    chance: Psi = {}
    for held in HELD_OUT:
        inside = (frame["split"] == held).to_numpy()
        found = {each: unlike(frame[each].to_numpy(), inside, seed) for each in FEATURES}
        psi[held] = {each: value for each, (value, _) in found.items()}
        chance[held] = {each: limit for each, (_, limit) in found.items()}
    return psi, chance


def unlike(bins: Ints, inside: NDArray[np.bool_], seed: int) -> tuple[float | None, float | None]:
    """PSI of some images against all of them, and what it must exceed to be more than chance; None without images.

    `bins` numbers the bin of each image, or is `NOWHERE`. Half an image is added to each bin on both sides, so that
    empty ones count.
    """
    bins, inside = bins[bins != NOWHERE], inside[bins != NOWHERE]
    if not inside.any():
        return None, None
    codes = np.unique(bins, return_inverse=True)[1]
    whole = np.bincount(codes)
    here = np.bincount(codes[inside], minlength=len(whole))
    rng = np.random.default_rng(seed)
    draws = rng.multivariate_hypergeometric(whole, int(inside.sum()), size=DRAWS, method="marginals")
    level = 1 - BY_CHANCE / (len(HELD_OUT) * len(FEATURES))
    by_chance = np.quantile(_psi(draws, whole), level, method="higher")
    return round(float(_psi(here[None], whole)[0]), 4), round(float(by_chance), 4)


def _psi(some: Ints, whole: Ints) -> NDArray[np.float64]:
    """PSI of each row of counts against the counts of all."""
    a = (some + 0.5) / (some + 0.5).sum(axis=1, keepdims=True)
    e = (whole + 0.5) / (whole + 0.5).sum()
    return np.asarray(((a - e) * np.log(a / e)).sum(axis=1))


def _members(ws: Workspace, about: Concept, home: dict[str, str]) -> pd.DataFrame:
    """Image, split, rule and the bin of each feature, of the images of the pool, sorted by image."""
    import pandas as pd

    with record.reading(ws.catalog) as read:
        drawn = read(record.members(about.name, DCT)).to_pandas()
        seen = read(record.origins(about.name)).to_pandas().drop_duplicates("image").set_index("image")
    frame: pd.DataFrame = drawn[drawn["image"].isin(home.keys())].sort_values("image", ignore_index=True)
    for name in ("source", "license"):
        frame[name] = pd.factorize(frame["image"].map(seen[name]).fillna(""), sort=True)[0]
    side = np.sqrt(frame["width"].to_numpy() * frame["height"].to_numpy())
    edges = np.unique(np.quantile(side, np.linspace(0, 1, SIZES + 1)[1:-1]))
    frame["size"] = np.searchsorted(edges, side, side="left")
    turn = np.argsort([position(f"{ws.seed}:kinds:{image}") for image in frame["image"]], kind="stable")
    near = _near_by_vectors(ws, frame["image"].to_numpy().astype(ID), frame["split"].to_numpy(), turn)
    frame.attrs["embedding"] = "hash" if near is None else "vectors"
    frame["embedding"] = _near_by_hash(frame["print"].fillna("").to_numpy(), turn) if near is None else near
    return frame


def _near_by_vectors(ws: Workspace, images: Ids, home: NDArray[Any], turn: Ints) -> Ints | None:
    """Which of `KINDS` images, the first in `turn` with a vector, each is nearest to, by the angle between vectors.

    Of the backbone with the most of these images (sorted) in the cache; None where a split has too few.
    """
    covered = {folder: np.isin(images, np.array(sorted(known(folder)), dtype=ID)) for folder in folders(ws)}
    folder = max(covered, key=lambda each: int(covered[each].sum()), default=None)
    if folder is None or any(covered[folder][home == name].mean() < COVERED for name in set(home)):
        return None
    pivots = turn[covered[folder][turn]][:KINDS]
    axes = read(folder, images[pivots], next(shards(folder))[1].shape[1])
    axes /= np.maximum(np.linalg.norm(axes, axis=1, keepdims=True), 1e-12)
    near = np.full(len(images), NOWHERE, dtype=np.int64)
    for names, vectors in shards(folder):
        at = np.minimum(np.searchsorted(images, names), len(images) - 1)
        ours = images[at] == names
        near[at[ours]] = (vectors[ours].astype(np.float32) @ axes.T).argmax(axis=1)
    return near


def _near_by_hash(prints: NDArray[Any], turn: Ints) -> Ints:
    """Which of `KINDS` images, the first in `turn`, each looks most like, by the 256-bit hash."""
    has = prints != ""
    found = np.full(len(prints), NOWHERE, np.int64)
    if has.any():
        words = np.frombuffer(bytes.fromhex("".join(prints[has])), np.uint64).reshape(int(has.sum()), -1)
        row = np.cumsum(has) - 1  # of an image among those with a hash
        pivots = row[turn[has[turn]][:KINDS]]
        found[has] = np.stack([np.bitwise_count(words ^ words[each]).sum(axis=1) for each in pivots]).argmin(axis=0)
    return found


def _sizes(ws: Workspace, counts: Counter[str], pool: int) -> list[str]:
    """Sentences about pools and splits that are too small to measure anything."""
    shares = {name: share for name, share in ws.section(SplitsConfig) if share}
    small = [f"{name} {counts[name]}" for name in shares if counts[name] < TINY]
    if not small:
        return []
    needed = math.ceil(TINY / min(shares.values()))
    few = f"{', '.join(small)} {'image' if small[0].endswith(' 1') and len(small) == 1 else 'images'}"
    return [f"too few to measure anything ({few} of {pool}): about {needed} in the pool give each split {TINY}"]


def _alarms(psi: dict[str, dict[str, float | None]], chance: dict[str, dict[str, float | None]]) -> list[str]:
    return [
        f"{name} is {'far from' if value > FAR else 'unlike'} the pool in {feature}: PSI {value:.2f}, chance gives "
        f"at most {chance[name][feature]:.2f}"
        for name, found in psi.items()
        for feature, value in found.items()
        if value is not None and value > max(UNLIKE, chance[name][feature] or 0)
    ]


def require_held_out(ws: Workspace, manifest: Manifest) -> tuple[str, ...]:
    """Raise unless a snapshot holds what training is measured and calibrated on; warnings of what it does without.

    A split whose share is 0 is done without on purpose. A concept whose splits were frozen before there was a
    calibration split has none at first: images that come in from now on are drawn for it.

    Raises:
        GateNotMet: there is no validation image; or none for test or calibration, though it is drawn.
    """
    concept, counts = manifest.concept, manifest.counts()
    wanted = {name: share for name, share in ws.section(SplitsConfig) if name in HELD_OUT}
    told = []
    for name in HELD_OUT:
        if any(counts[name].values()):
            continue
        if name == "calibration" and (wanted[name] == 0 or _older(ws, concept, name)):
            why = "`splits.calibration` is 0" if wanted[name] == 0 else (
                "the splits were frozen before there was such a split, and only new images are drawn for it "
                f"(`collect crawl {concept}`, `collect split {shlex.quote(concept)}`)"
            )  # fmt: skip
            told.append(f"no image calibrates: {why}; until then probabilities are not calibrated")
        elif name == "validation" or wanted[name] > 0:
            raise GateNotMet(
                f"this snapshot of `{concept}` holds no {name} image: nothing that is trained on it can be trusted",
                hint=f"`collect split {shlex.quote(concept)}` draws them and says what is missing; then label them, "
                f"and `collect snapshot {shlex.quote(concept)}`",
            )
    return tuple(told)


def _older(ws: Workspace, concept: str, split: str) -> bool:
    """Whether some images were drawn by a rule that did not know a split."""
    drawn = filter(None, map(splits.shares, pools.rules(ws.catalog, concept)))
    return any(split not in shares for shares in drawn)
