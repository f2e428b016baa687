"""Which candidates are picked: tier by tier in the order of their rank, under caps, in batches that somebody judges."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from collector.negatives.config import FILL, NegativesConfig
from collector.negatives.sources import Candidate

AT_ONCE = 64  # pictures taken in together
Take = Callable[[Sequence[Candidate]], Sequence[bool]]


class Caps:
    """How many negatives one source and one creator may give; those of the pool count, by their checks."""

    def __init__(self, config: NegativesConfig, wanted: int, pool: Iterable[Mapping[str, Any]]) -> None:
        share = max(1, int(config.per_source * wanted)) if config.per_source < 1 else 0  # 0: no bound
        self._most = {"per-source": share, "per-creator": config.per_creator}
        self._used = Counter(key for checks in pool for key in _givers(checks))

    def binds(self, each: Candidate) -> str:
        """The cap that leaves no room for a candidate, empty if there is room."""
        return next((kind for kind, who in _givers(each.checks) if self._is_full(kind, who)), "")

    def count(self, each: Candidate, by: int) -> None:
        """Use a place, or with -1 give it back."""
        for key in _givers(each.checks):
            self._used[key] += by

    def _is_full(self, kind: str, who: str) -> bool:
        return 0 < self._most[kind] <= self._used[kind, who]


def _givers(checks: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(cap, whom it counts) of a picture; a creator is one of a source."""
    source, creator = checks.get("source", "given"), checks.get("creator")
    return [("per-source", source), *([("per-creator", f"{source}: {creator}")] if creator else [])]


class Drawing:
    """Fills quotas from candidates in the order of their rank.

    A tier gets its own quota; what all tiers together lack of `wanted` is then taken from the tiers of `FILL`, one
    after the other. A pick is never taken back, so a tier whose candidates come later gets its quota then, and the
    pool grows beyond `wanted` by what stood in for it.
    """

    def __init__(self, candidates: Sequence[Candidate], caps: Caps, take: Take) -> None:
        self.capped = Counter[str]()
        self._waiting = {tier: deque[Candidate]() for tier in FILL}
        for each in candidates:
            self._waiting[each.tier].append(each)
        self._caps, self._take = caps, take

    def fill(self, quotas: Mapping[str, int], have: Counter[str]) -> dict[str, int]:
        """Take candidates until the quotas are met or nothing is left; `have` counts the pool by tier, and grows.

        Returns tier -> how many of its quota it could not give.
        """
        for tier, quota in quotas.items():
            have[tier] += self._draw(tier, quota - have[tier])
        short = {tier: quota - have[tier] for tier, quota in quotas.items() if have[tier] < quota}
        for tier in FILL:
            have[tier] += self._draw(tier, sum(quotas.values()) - have.total())
        return short

    def _draw(self, tier: str, room: int) -> int:
        """Take up to `room` candidates of a tier; how many were taken."""
        taken = 0
        waiting = self._waiting[tier]
        while waiting and taken < room:
            batch: list[Candidate] = []
            skipped: list[Candidate] = []
            while waiting and len(batch) < min(AT_ONCE, room - taken):
                each = waiting.popleft()
                if self._caps.binds(each):
                    skipped.append(each)
                else:
                    self._caps.count(each, +1)
                    batch.append(each)
            good = self._take(batch) if batch else []
            for each, fits in zip(batch, good, strict=True):
                if not fits:
                    self._caps.count(each, -1)
            taken += sum(good)
            # one that had no room only because of a picture that was refused has its turn now
            waiting.extendleft(each for each in reversed(skipped) if not self._caps.binds(each))
            self.capped.update(why for each in skipped if (why := self._caps.binds(each)))
        return taken
