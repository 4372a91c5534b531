"""When the next poll pays: the break-even rule, and the price of a poll.

A poll of a task that is still pending is wasted; a task that is over and not
polled waits unnoticed. After a poll that found a task pending, the next one is
due when the unnoticed waiting to be expected since has come up to the expected
cost of a wasted poll. That is within some two percent of the best possible
schedule, which a dynamic programme finds (Barlow, Hunter and Proschan 1963).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Generator
from math import exp, inf, log, sqrt
from typing import NamedTuple

import attrs

from ._durations import Durations


# What remains of the tasks when the rest makes no difference any more.
_FEW = 0.002
_POLLS_MAX = 1000
_POLLS_AT_ONCE = 50
_HALVINGS = 14
_TINY = 1e-12


class Outlay(NamedTuple):
    """What a schedule is expected to cost a task: polls, and seconds of lateness."""

    polls: float
    lateness: float


@attrs.frozen
class Bounds:
    """The shortest and the longest delay between two polls, in seconds."""

    shortest: float
    longest: float


def due(durations: Durations, age: float, price: float) -> float:
    """Return at what age a task is polled next that was pending at ``age``.

    It is the first t with: the integral from ``age`` to t of F(x) - F(age) is
    ``price`` * (1 - F(t)) or more. ``price`` is that of a poll, in seconds of
    lateness. Infinite when the tasks still pending outlast all that is known.
    """
    ages, shares, areas = durations.ages, durations.shares, durations.areas
    if age >= ages[-1]:
        return inf
    share, area = durations.at(age)
    needed = price + area - share * age
    first = low = bisect_right(ages, age)
    high = len(ages)
    while low < high:
        middle = (low + high) // 2
        if areas[middle] - share * ages[middle] + price * shares[middle] < needed:
            low = middle + 1
        else:
            high = middle
    if low == len(ages):
        return inf
    start, begun = ages[low - 1], shares[low - 1]
    slope = (shares[low] - begun) / (ages[low] - start)
    lacking = needed - areas[low - 1] + share * start - price * begun
    if low == first:
        start, begun, lacking = age, share, price * (1.0 - share)
    # In this cell the excess is slope/2 d^2 + rate d - lacking, d from its start.
    rate = begun - share + price * slope
    root = sqrt(rate * rate + 2.0 * slope * lacking)
    return start + 2.0 * lacking / max(rate + root, _TINY)


def waiting(durations: Durations, asked: float, age: float) -> tuple[float, float]:
    """Return the unnoticed waiting between two ages, and the share that is over.

    The waiting, in seconds, is over all tasks: those pending at neither age are
    counted with none.
    """
    share, area = durations.at(asked)
    over, area_now = durations.at(age)
    return max(area_now - area - share * (age - asked), 0.0), over - share


def outlay(
    durations: Durations, price: float, bounds: Bounds
) -> Generator[None, None, Outlay]:
    """Return what the rule costs at this price, when no delay leaves the bounds."""
    age = polls = lateness = share = 0.0
    for count in range(1, _POLLS_MAX + 1):
        polls += 1.0 - share
        delay = due(durations, age, price) - age
        asked, age = age, age + min(max(delay, bounds.shortest), bounds.longest)
        waited, over = waiting(durations, asked, age)
        lateness += waited
        share += over
        if share > 1.0 - _FEW:
            break
        if count % _POLLS_AT_ONCE == 0:
            yield
    return Outlay(polls, lateness)


def price_for(
    durations: Durations, bounds: Bounds, *, polls: float | None, latency: float | None
) -> Generator[None, None, tuple[float, Outlay]]:
    """Return the price at which tasks take this many polls, or are this late.

    Exactly one of the two is given. Where the bounds do not allow it, the price
    is the one that comes nearest.
    """
    median = durations.age_by(0.5)
    low, high = log(1e-6 * median), log(1e2 * median)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2.0
        cost = yield from outlay(durations, exp(middle), bounds)
        yield
        cheap = cost.polls > polls if polls else cost.lateness < (latency or 0.0)
        low, high = (middle, high) if cheap else (low, middle)
    price = exp(high)
    return price, (yield from outlay(durations, price, bounds))
