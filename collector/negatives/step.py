"""`negatives`: fill the pool of a concept with pictures that do not show it, from every tier its share."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

from collector import folders, quality, splits
from collector.catalog import images, pools, suspects
from collector.catalog.exclusions import exclusions
from collector.catalog.images import Arrival
from collector.catalog.pools import PoolRow
from collector.catalog.suspects import Suspect
from collector.config import IntakeConfig
from collector.errors import UsageError
from collector.intake import Intake, taking_in
from collector.licenses import from_person
from collector.negatives import guard, ontology, sources
from collector.negatives.alike import AlikeCaps
from collector.negatives.config import FILL, QUOTED, NegativesConfig
from collector.negatives.guard import Guard, called_positive
from collector.negatives.meaning import folder_of, places, understood
from collector.negatives.ontology import Ontology
from collector.negatives.quotas import Caps, Drawing
from collector.negatives.sources import Candidate, Judged
from collector.records import Concept, Outcome, Rejected, Summary
from collector.workspace import Workspace

POOR = tuple(f"quality: {flag}" for flag in quality.Thresholds.model_fields)  # as snapshots call it
OUTSIDE = "copy-of-an-outside-set"
FACE = "it shows a face"
REASONS = (*ontology.REASONS, sources.SEEN_AS, *POOR, OUTSIDE, *guard.REASONS)
"""Why a stored picture must not be a negative."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NegativesSummary(Summary):
    """The pool of a concept: `excluded` counts by reason the pictures that must not be negatives.

    `synsets` is label -> WordNet id for every label whose kinds, parents and parts were kept out. `quotas` is what each
    tier should give of `wanted`, `short` what it could not; `tiers` and `sources` are what there is. `capped` counts
    candidates that a cap left out, `ambiguous` negatives that people should look at first, `mistaken` those that people
    call the concept, `poor` those that snapshots leave out by now (`quality.exclude`, outside sets): others replace
    these. `splits` are frozen.
    """

    concept: str
    synsets: dict[str, str]
    positives: int
    negatives: int
    new: int
    wanted: int
    tiers: dict[str, int]
    quotas: dict[str, int]
    short: dict[str, int]
    sources: dict[str, int]
    splits: dict[str, int]
    capped: dict[str, int]
    ambiguous: int
    mistaken: int
    poor: int
    excluded: dict[str, int]


def negatives(  # noqa: PLR0913  # one for each option of the command
    ws: Workspace,
    concept: str | None = None,
    *,
    folder: Path | None = None,
    tier: str | None = None,
    imagen: Path | None = None,
    license: str = "unlicensed",
    ratio: float | None = None,
    match: bool = False,
) -> NegativesSummary:
    """Draw negatives of a concept from `folder`, or else from ImageN, and from what was crawled for it as negative.

    Args:
        ws: the workspace.
        concept: its name; may be left out where there is only one.
        folder: pictures of other things; classes are read from file names like those of ImageN.
        tier: near, mid, far, context or junk: what the folder holds; default: by class, or `given`.
        imagen: a copy of ImageN; default: `negatives.imagen`, or else fetched once.
        license: of the folder's pictures, a code such as `by-4.0`, or `own`, or `unlicensed`.
        ratio: negatives wanted for each positive; default `negatives.ratio`.
        match: only draw files that are as large and as strongly compressed as those of the positives, and as often.

    Raises:
        UsageError: a wrong folder, tier, license or ratio; no synset is known for a concept that needs one.
        ServiceDown: ImageN cannot be fetched.
    """
    about = ws.concept(concept)
    stated = from_person(license)  # refuses a wrong code before anything is read
    ratio = ws.section(NegativesConfig).ratio if ratio is None else ratio
    if not 0 < ratio < float("inf"):
        raise UsageError(f"a ratio of {ratio:g} negatives to each positive asks for none", hint="give more than 0")
    if tier is not None and (folder is None or tier not in QUOTED):
        raise UsageError(f"`{tier}` says nothing here", hint=f"`--folder DIR --tier T`, T one of {', '.join(QUOTED)}")
    source, root = folder_of(ws, folder, imagen)
    with ws.lock("negatives"), taking_in(ws) as intake:
        splits.enroll(ws, about)
        knows = understood(ws, about, needed=root is not None and sources.has_classes(root))
        judged: list[Judged] = list(sources.crawled(ws, about, places(ws, knows), knows))
        if root is not None:
            judged += sources.in_folder(ws, about, sources.Folder(root, source, stated, tier), knows)
        return _Step(ws, about, intake, knows).run(judged, ratio, match)


class _Step:
    """One run: the pool before it, and how more is taken."""

    def __init__(self, ws: Workspace, about: Concept, intake: Intake, knows: Ontology) -> None:
        self.ws, self.about, self.intake, self.knows = ws, about, intake, knows
        pool = pools.members(ws.catalog, about.name)
        self.mistaken = called_positive(ws, about)
        # What people call the concept keeps its place: it is a positive now, and a rerun would change what is labeled.
        self.before = [row for row in pool if row.role == "negative"]
        self.poor = quality.excluded(ws.catalog, ws.section(quality.QualityConfig))
        self.positives = sum(row.role == "positive" and row.image not in self.poor for row in pool)
        self.taken = 0
        self.guard = Guard(ws, about, {row.image for row in self.before})

    def run(self, judged: Sequence[Judged], ratio: float, match: bool) -> NegativesSummary:
        """Draw what is wanted from the candidates, and sum up."""
        ws, config, wanted = self.ws, self.ws.section(NegativesConfig), round(ratio * self.positives)
        have = {row.image for row in self.before} | pools.duplicates(ws.catalog).keys()
        fresh = [each for each in judged if isinstance(each, Candidate) and each.image not in have]
        refused = [each for each in judged if not isinstance(each, Candidate)]
        refused += [(each.found, self._too_poor(each.image)) for each in fresh if each.image in self.poor]
        images.write(ws.catalog, [Arrival(found, why=why) for found, why in refused])
        fresh = [each for each in fresh if each.image not in self.poor]
        counted = [row for row in self.before if row.image not in self.poor]
        if match:
            caps: Caps = AlikeCaps(ws, self.about, wanted, counted, fresh)
        else:
            caps = Caps(config, wanted, [row.checks for row in counted])
        drawing = Drawing(sources.ranked(fresh, ws.seed, self.about.name), caps, self._take)
        short = drawing.fill(config.quotas.of(wanted), Counter(row.tier for row in counted))
        return self._summary(wanted, short, dict(drawing.capped))

    def _take(self, batch: Sequence[Candidate]) -> list[bool]:
        """Take candidates into store and pool; False for those that intake or the guard refuses."""
        waiting = [self._taken(each) for each in batch]
        outcomes = [done and done.result() for done in waiting]
        stored = [each for each, outcome in zip(batch, outcomes, strict=True) if not isinstance(outcome, Rejected)]
        whys = self.guard.judge([each.image for each in stored])
        picked = [each for each, why in zip(stored, whys, strict=True) if why is None]
        refused = [Arrival(each.found, why=why) for each, why in zip(stored, whys, strict=True) if why is not None]
        images.write(self.ws.catalog, refused)
        pools.add(self.ws.catalog, self.about.name, map(self._row, picked))
        self.taken += len(picked)
        self.ws.progress("taking negatives", self.taken, None)
        return [each in picked for each in batch]

    def _too_poor(self, image: str) -> Rejected:
        why = self.poor[image]
        return Rejected(why, "`quality.exclude` names it") if why in POOR else Rejected(OUTSIDE, why)

    def _row(self, each: Candidate) -> PoolRow:
        checks = {**each.checks, "nearest_positive_bits_above": self.guard.limits.phash}
        return PoolRow(each.image, self.about.negative, "negative", each.tier, each.reason, checks)

    def _taken(self, each: Candidate) -> Future[Outcome] | None:
        """Give a file to intake, if its bytes are still those that it was ranked by; None for what is stored."""
        if each.path is None:
            return None
        data = folders.read(each.path, self.ws.section(IntakeConfig))
        if isinstance(data, bytes) and hashlib.sha256(data).hexdigest() != each.image:
            data = Rejected("changed-while-read", "the file was written to while its folder was read")
        if isinstance(data, Rejected):
            return self.intake.reject(each.found, data)
        return self.intake.take(data, each.found)

    def _unseen(self) -> tuple[str, ...]:
        """WordNet does not say which pictures show people; faces do, once somebody has looked for them."""
        if not self.knows.is_human:
            return ()
        return (
            "nearly anything may show people, whatever its class: `collect quality --faces`, then this command again, "
            "lists the negatives with a face for people to look at first",
        )

    def _summary(self, wanted: int, short: dict[str, int], capped: dict[str, int]) -> NegativesSummary:
        catalog, name = self.ws.catalog, self.about.name
        pool = [row for row in pools.members(catalog, name) if row.role == "negative"]
        home = splits.freeze(self.ws, self.about, [row.image for row in pool])
        _suspect(self.ws, name, pool, faces(self.ws) if self.knows.is_human else set())
        poor = {row.image for row in pool} & self.poor.keys()
        good = {row.image for row in pool} - self.mistaken - poor
        tiers = Counter(row.tier for row in pool)
        return NegativesSummary(
            concept=name,
            synsets=self.knows.synsets,
            positives=self.positives,
            negatives=len(pool),
            new=len(good - {row.image for row in self.before}),
            wanted=wanted,
            tiers=dict(sorted(tiers.items(), key=lambda item: [*QUOTED, *FILL].index(item[0]))),
            quotas=self.ws.section(NegativesConfig).quotas.of(wanted),
            short=short,
            sources=dict(sorted(Counter(str(row.checks.get("source", "given")) for row in pool).items())),
            splits=dict(sorted(Counter(home.values()).items())),
            capped=capped,
            ambiguous=sum("ambiguous" in row.checks for row in pool),
            mistaken=len({row.image for row in pool} & self.mistaken),
            poor=len(poor),
            excluded=exclusions(catalog, name, splits.NEGATIVE_SOURCES, REASONS),
            warnings=_warnings(name, self.positives, len(good), wanted, short) + self._unseen(),
            next=f"collect label push {name}",
        )


def faces(ws: Workspace) -> set[str]:
    """The images in which `collect quality --faces` found a face."""
    return set(quality.flagged(ws.catalog, ws.section(quality.QualityConfig))["faces"])


def _suspect(ws: Workspace, concept: str, pool: Sequence[PoolRow], shown: set[str]) -> None:
    """List ambiguous negatives, and where people are asked for those with a face, first among the suspects.

    Those that are listed already stay where they are.
    """
    known = suspects.of(ws.catalog, concept)
    listed = {each.image for each in known}
    why = {row.image: f"ambiguous: {row.checks['ambiguous']}" for row in pool if "ambiguous" in row.checks}
    why |= {row.image: FACE for row in pool if row.image in shown}
    fresh = sorted(
        why.keys() - listed, key=lambda image: (why[image] != FACE, splits.position(f"{ws.seed}:suspects:{image}"))
    )
    if fresh:
        suspects.put(ws.catalog, concept, [*(Suspect(image, why[image]) for image in fresh), *known])


def _warnings(concept: str, positives: int, have: int, wanted: int, short: dict[str, int]) -> tuple[str, ...]:
    if not positives:
        return ("the pool holds no positives yet, so no negatives are wanted: crawl or import first",)
    said = []
    if have < wanted:
        said.append(f"{have} of {wanted} negatives: there are no more to give")
    if short:
        lacking = ", ".join(f"{tier} {n}" for tier, n in short.items())
        plan = f"`collect negatives {concept} --plan` says what to crawl for them"
        said.append(f"tiers that could not give their share: {lacking}; others stand in for them; {plan}")
    return tuple(said)
