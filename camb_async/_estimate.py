"""Learn a distribution of durations from polls that only saw between which ages.

The estimate is found by self-consistency (Efron 1967, Turnbull 1976): each task
is spread over the ages at which it may have ended, in proportion to the estimate
so far, and the sum of all is the next estimate. Smoothing each time makes it
settle where the data are silent (Silverman, Jones, Wilson and Nychka 1990). It
begins with a broad prior around the middle of what was seen, which is never
forgotten, so that there is no age at which nothing can happen.

Ages are cells of a grid that grows by a constant factor, so one round costs a
few passes over the cells and one over the tasks. ``estimate`` is a generator, a
round or less a step, because the polls of other tasks are waiting.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Generator, Sequence
from itertools import accumulate
from math import exp, inf, log, sqrt

import attrs

from ._durations import Durations, Observation


#: Cells of the grid, from an eighth of the age at which the first was seen to be over
#: to beyond the latest.
CELLS = 192
ROUNDS = 12
_AT_ONCE = 100
_FIRST = 1 / 8
_LAST = 1.25
_SHORTEST = 1e-3
# Beyond the grid nothing was seen: a few coarse cells for what the prior expects.
_TAIL = [1.6**step for step in range(1, 14)]

#: The prior, a log-logistic distribution, weighs as much as half a task.
PRIOR_TASKS = 0.5
_PRIOR_SHAPE = 2.0
_LEAST = 1e-9
# Of those that ended unseen before a task came late, at most this many for each.
_UNSEEN_MAX = 9.0


@attrs.define(eq=False)
class _Cells:
    """Tasks on a grid: ``edges`` of the cells, and from which to which each ended."""

    edges: list[float]
    spans: Counter[tuple[int, int]]
    entries: Counter[int]
    prior: list[float]

    def spread(self, mass: list[float]) -> list[float]:
        """Return the tasks in each cell, if they are distributed like ``mass``."""
        before = list(accumulate(mass, initial=0.0))
        change = [0.0] * len(before)
        for (first, last), count in self.spans.items():
            each = count / (before[last] - before[first])
            change[first] += each
            change[last] -= each
        for entry, count in self.entries.items():
            left = max(before[-1] - before[entry], before[-1] / (1.0 + _UNSEEN_MAX))
            change[0] += count / left
            change[entry] -= count / left
        rates = accumulate(change)
        return [
            part * rate + extra
            for part, rate, extra in zip(mass, rates, self.prior, strict=False)
        ]

    def smooth(self, mass: list[float], tasks: int) -> list[float]:
        """Return ``mass`` with the grid blurred; less so the more tasks there are."""
        before = list(accumulate(mass))
        quarter, three = (bisect_left(before, q * before[-1]) for q in (0.25, 0.75))
        deviation = 0.3 * (three - quarter) / 1.35 * tasks**-0.34
        width = min(sqrt(1.0 + 6.0 * deviation**2), CELLS / 4)
        grid = slice(1, CELLS + 1)
        mass[grid] = _averaged(_averaged(mass[grid], width), width)
        return mass


def _averaged(mass: list[float], width: float) -> list[float]:
    """Return moving averages over ``width`` cells, mirrored at both ends."""
    reach = int((width - 1.0) / 2.0)
    part = (width - 1.0) / 2.0 - reach
    mirrored = [*mass[reach::-1], *mass, *mass[: -reach - 2 : -1]]
    before = list(accumulate(mirrored, initial=0.0))
    beyond = 2 * reach + 2
    return [
        (high - low + part * (left + right)) / width
        for low, high, left, right, _ in zip(
            before[1:],
            before[beyond:],
            mirrored,
            mirrored[beyond:],
            mass,
            strict=False,
        )
    ]


def estimate(
    observations: Sequence[Observation], hint: float
) -> Generator[None, None, Durations]:
    """Return how long the tasks take of which some were seen to end.

    ``hint`` is a guess of what the median may be, and counts like one task.
    """
    cells = yield from _on_a_grid(observations, hint)
    yield
    mass = cells.prior
    for _ in range(ROUNDS):
        mass = cells.smooth(cells.spread(mass), len(observations))
        yield
    over = list(accumulate(mass, initial=0.0))
    # The last cell has no end: what is in it is beyond the last edge.
    shares = (min(part / over[-1], 1.0) for part in over[:-1])
    return Durations.through(cells.edges, shares)


def _on_a_grid(
    observations: Sequence[Observation], hint: float
) -> Generator[None, None, _Cells]:
    edges = _edges(observations)
    last = len(edges)
    yield

    def nearest(age: float) -> int:
        after = bisect_left(edges, age)
        return after - (edges[after] - age > age - edges[after - 1])

    spans: Counter[tuple[int, int]] = Counter()
    entries: Counter[int] = Counter()
    truncated = not any(map(_came_too_late, observations))
    for number, (lower, upper, entry) in enumerate(observations, 1):
        first = nearest(lower) if lower else 0
        end = last if upper == inf else nearest(upper)
        spans[first, max(first + 1, end)] += 1
        if entry and lower and truncated:
            entries[nearest(min(entry, lower))] += 1
        if number % _AT_ONCE == 0:
            yield
    prior = _prior(edges, _centre(observations, hint))
    return _Cells(edges, spans, entries, prior)


def _came_too_late(seen: Observation) -> bool:
    # Where tasks that were over before they came are counted too, none is missing.
    return not seen.lower and seen.upper < 2.0 * seen.entry


def _edges(observations: Sequence[Observation]) -> list[float]:
    known = [age for seen in observations for age in seen[:2] if 0.0 < age < inf]
    # Before anything was over, polls tell nothing that a cell would be needed for.
    ends = [upper for _, upper, _ in observations if upper < inf]
    first = max(min(ends or known) * _FIRST, _SHORTEST)
    last = max(*known, first) * _LAST
    factor = (last / first) ** (1.0 / CELLS)
    grid = [first * factor**step for step in range(CELLS + 1)]
    return [0.0, *grid, *(last * step for step in _TAIL)]


def _centre(observations: Sequence[Observation], hint: float) -> float:
    middles = sorted(
        (lower + min(upper, 2.0 * lower + 1.0)) / 2.0
        for lower, upper, _ in observations
    )
    count = len(middles)
    middle = max(middles[count // 2], _SHORTEST)
    return exp((log(hint) + count * log(middle)) / (count + 1))


def _prior(edges: list[float], centre: float) -> list[float]:
    over = [1.0 / (1.0 + (age / centre) ** -_PRIOR_SHAPE) for age in edges[1:]]
    return [
        PRIOR_TASKS * (high - low) + _LEAST
        for low, high in zip([0.0, *over], [*over, 1.0], strict=True)
    ]
