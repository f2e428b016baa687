"""What L-BFGS remembers of a Hessian (Nocedal and Wright, Numerical Optimization, 2006, section 7.2)."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from pipelines.calibrate import Single

MEMORY = 10  # pairs that L-BFGS remembers


@dataclass
class Memory:
    """What L-BFGS has seen of a Hessian: steps and the turns of the gradient along them.

    It serves the next fit too, whose Hessian differs by its penalty, which is known, and little by its rows.
    """

    pairs: deque[tuple[Single, Single]] = field(default_factory=lambda: deque(maxlen=MEMORY))
    size: int = 1
    c: float = 1.0

    def copy(self) -> Memory:
        """One that goes its own way; pairs themselves are never changed."""
        return Memory(self.pairs.copy(), self.size, self.c)

    def turn_to(self, size: int, c: float) -> None:
        """What the turns would have been with another number of rows and another penalty."""
        if (size, c) != (self.size, self.c):
            known = list(self.pairs)
            self.pairs.clear()
            more = size / self.size
            for moved, turned in known:
                scaled = turned * np.float32(more)
                scaled[:, :-1] += moved[:, :-1] * np.float32(1 / c - more / self.c)
                self.add(moved, scaled)
        self.size, self.c = size, c

    def add(self, moved: Single, turned: Single) -> None:
        """Remember a step, unless rounding hides that the loss is convex along it."""
        if float(np.vdot(moved, turned)) > 0:
            self.pairs.append((moved, turned))

    def inverse_times(self, gradient: Single, first: Single) -> Single:
        """The inverse Hessian times a gradient; `first` is its diagonal as far as no step tells it."""
        q, steps = gradient.copy(), []
        for moved, turned in reversed(self.pairs):
            rho = 1 / float(np.vdot(moved, turned))
            a = rho * float(np.vdot(moved, q))
            q -= a * turned
            steps.append((a, rho))
        q *= first
        if self.pairs:
            moved, turned = self.pairs[-1]  # (7.20): else steps are too long where most rows are certain
            q *= float(np.vdot(moved, turned)) / float(np.vdot(turned, first * turned))
        for (moved, turned), (a, rho) in zip(self.pairs, reversed(steps), strict=True):
            q += moved * (a - rho * float(np.vdot(turned, q)))
        return q
