"""How long tasks take: a distribution, as a broken line.

``shares[i]`` of all tasks are over by the age ``ages[i]``, and in between the
share grows evenly. A broken line has an exact integral, and what is asked of it
is answered by a binary search and a line of arithmetic.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from itertools import accumulate
from typing import NamedTuple

import attrs


class Observation(NamedTuple):
    """A task that was pending at age ``lower`` and over at age ``upper``.

    ``upper`` is infinite when nobody saw the end. ``entry`` is the age at which
    the task came to be watched: had it ended before, it would not be here.
    """

    lower: float
    upper: float
    entry: float = 0.0


@attrs.frozen(eq=False)
class Durations:
    """The share of tasks over at each age, and the area under that line.

    ``ages`` grow from 0.0. Some tasks may outlast the last of them: there the
    last share stays below one.
    """

    ages: list[float]
    shares: list[float]
    areas: list[float]

    @classmethod
    def through(cls, ages: Iterable[float], shares: Iterable[float]) -> Durations:
        """Return the line through these points."""
        xs, ys = list(ages), list(shares)
        steps = (
            (x1 - x0) * (y0 + y1) / 2.0
            for x0, x1, y0, y1 in zip(xs, xs[1:], ys, ys[1:], strict=False)
        )
        return cls(xs, ys, list(accumulate(steps, initial=0.0)))

    def at(self, age: float) -> tuple[float, float]:
        """Return the share of tasks over by this age, and the area up to it."""
        after = bisect_right(self.ages, age)
        start = self.ages[after - 1]
        share, area, beyond = self.shares[after - 1], self.areas[after - 1], age - start
        if after == len(self.ages):
            return share, area + share * beyond
        rise = (self.shares[after] - share) * beyond / (self.ages[after] - start)
        return share + rise, area + beyond * (share + rise / 2.0)

    def age_by(self, share: float) -> float:
        """Return the age by which this share of tasks is over."""
        after = bisect_left(self.shares, share)
        if after == len(self.ages):
            return self.ages[-1]
        if after == 0:
            return 0.0
        y0, y1 = self.shares[after - 1 : after + 1]
        x0, x1 = self.ages[after - 1 : after + 1]
        return x0 + (share - y0) / (y1 - y0) * (x1 - x0)

    def remaining(self) -> Durations:
        """Return how long a task still takes that is met at a random moment.

        That is the residual life of renewal theory: its density at x is the
        share of tasks that take longer than x, over their mean.
        """
        lived = [age - area for age, area in zip(self.ages, self.areas, strict=True)]
        return Durations.through(self.ages, (part / lived[-1] for part in lived))
