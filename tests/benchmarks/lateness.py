"""Requests against lateness: the adaptive schedule, others, and the best possible.

Run it: ``python -m tests.benchmarks.lateness [--quick]``. Lateness is the time
from the end of a task to the poll that sees it. Schedules are asked for their
polls as a watcher asks, with their jitter, and what those polls cost is computed
over a thousand equally likely durations: nothing is waited for, and little is
left to chance.
"""

from __future__ import annotations

import argparse
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from heapq import heapify, heappop, heapreplace
from itertools import accumulate, product
from math import exp, log
from random import Random
from statistics import mean
from typing import NamedTuple

import attrs

from camb_async import AdaptiveSchedule, PollSchedule, ShareOfAge, TaskRef

from .distributions import DISTRIBUTIONS, Distribution


TASK = TaskRef("measured")
PATHS = 12
#: How many tasks are learnt before a schedule is measured.
STAGES = (0, 20, 100, 500)
#: Those that curves are drawn of: narrow, wide, memoryless, two modes.
_DRAWN = ("lognormal .25", "lognormal .8", "exponential", "bimodal 8 / 180")
DRAWN = [each for each in DISTRIBUTIONS if each.name in _DRAWN]


class Cost(NamedTuple):
    """What a task costs on average: polls, and seconds of lateness."""

    polls: float
    lateness: float


@attrs.frozen
class Row:
    """An adaptive schedule after so many tasks, and others at as many polls."""

    distribution: Distribution
    tasks: int
    polls: float
    lateness: float
    optimum: float
    fixed: float
    backoff: float


@attrs.frozen
class Curve:
    """What a schedule costs, by how many polls a task it is meant to take."""

    distribution: str
    schedule: str
    costs: Sequence[Cost]


@attrs.frozen
class Batch:
    """What the tasks of a batch that begin together cost, and the best possible."""

    distribution: str
    tasks: int
    number: int
    polls: float
    lateness: float
    optimum: float


@attrs.define
class Steady:
    """Delays that grow by a factor, 10 percent either way; 1.0: a fixed interval."""

    first: float
    growth: float = 1.0
    random: Random = attrs.field(factory=lambda: Random(1))

    def next_delay(self, task: TaskRef, age: float, *, age_known: bool = True) -> float:
        """Return the next delay of a series of which the age is the sum so far."""
        delay = self.first + (self.growth - 1.0) * age
        return delay * (0.9 + 0.2 * self.random.random())


def asked(schedule: Steady | PollSchedule, until: float) -> list[float]:
    """Return the ages at which a task is polled, up to the first that is enough."""
    ages, age = list[float](), 0.0
    while age < until:
        age += schedule.next_delay(TASK, age)
        ages.append(age)
    return ages


def cost_of(ages: Sequence[float], durations: Sequence[float]) -> Cost:
    """Return what polls at these ages cost tasks of these durations."""
    seen = [bisect_left(ages, duration) for duration in durations]
    late = [ages[at] - duration for at, duration in zip(seen, durations, strict=True)]
    return Cost(mean(seen) + 1.0, mean(late))


def cost(schedule: Steady | PollSchedule, durations: Sequence[float]) -> Cost:
    """Return what a schedule costs, over some of the paths that its jitter takes."""
    paths = [cost_of(asked(schedule, durations[-1]), durations) for _ in range(PATHS)]
    polls, late = zip(*paths, strict=True)
    return Cost(mean(polls), mean(late))


def teach(
    schedule: PollSchedule, durations: Sequence[float], tasks: int, seed: int
) -> None:
    """Let a schedule see tasks, one after the other."""
    random = Random(1000 * seed + tasks)
    for number in range(tasks):
        task, duration = TaskRef(f"task-{number}"), random.choice(durations)
        lower = age = 0.0
        while age < duration:
            lower, age = age, age + schedule.next_delay(task, age)
        schedule.learn(task, lower, age)


def at_equal_polls(
    make: Callable[[float], Steady | PollSchedule],
    durations: Sequence[float],
    polls: float,
) -> Cost:
    """Return the cost of the schedule of a family that takes about so many polls."""
    low, high = log(durations[0] / 100.0), log(durations[-1] * 2.0)
    for _ in range(14):
        middle = (low + high) / 2.0
        many = cost(make(exp(middle)), durations).polls > polls
        low, high = (middle, high) if many else (low, middle)
    return cost(make(exp(high)), durations)


def _grid(durations: Sequence[float]) -> list[float]:
    step = (durations[-1] / durations[0]) ** (1.0 / 100)
    even = [durations[0] * step**number for number in range(1, 100)]
    return [0.0, *sorted({*durations[::3], *even}), durations[-1]]


def best(durations: Sequence[float], price: float) -> Cost:
    """Return the cost of the best schedule there is when a poll has this price.

    A dynamic programme over ages (Barlow, Hunter and Proschan 1963) that knows
    all durations. It goes backwards, and each age stores where to poll next.
    """
    ages = _grid(durations)
    count = len(durations)
    over = [bisect_left(durations, age) / count for age in ages[:-1]] + [1.0]
    steps = zip(ages, ages[1:], over, over[1:], strict=False)
    area = list(accumulate(((b - a) * (p + q) / 2 for a, b, p, q in steps), initial=0))
    worth = [0.0] * len(ages)
    following = [0] * len(ages)
    for now in reversed(range(len(ages) - 1)):
        share, fixed = over[now], area[now] - over[now] * ages[now]
        worth[now], following[now] = min(
            (area[then] - share * ages[then] + worth[then], then)
            for then in range(now + 1, len(ages))
        )
        worth[now] += price * (1.0 - share) - fixed
    path, at = list[float](), 0
    while at < len(ages) - 1:
        at = following[at]
        path.append(ages[at])
    return cost_of(path, durations)


def optimum(durations: Sequence[float]) -> Callable[[float], float]:
    """Return the least possible lateness as a function of the polls a task."""
    size = mean(durations)
    costs = sorted({best(durations, size * 2.0**-power) for power in range(1, 13)})

    def lateness(polls: float) -> float:
        after = min(max(bisect_left(costs, (polls,)), 1), len(costs) - 1)
        (n0, late0), (n1, late1) = costs[after - 1 : after + 1]
        way = log(polls / n0) / log(n1 / n0)
        return exp(log(late0) + way * log(late1 / late0))

    return lateness


def learnt(
    durations: Sequence[float], tasks: int, repeats: int, polls: float
) -> list[Cost]:
    """Return what adaptive schedules cost after so many tasks, each seeing others."""
    costs: list[Cost] = []
    for seed in range(repeats):
        schedule = AdaptiveSchedule(polls=polls, seed=seed)
        teach(schedule, durations, tasks, seed)
        costs.append(cost(schedule, durations))
    return costs


def rows(
    stages: Sequence[int] = STAGES,
    repeats: int = 8,
    *,
    among: Sequence[Distribution] = DISTRIBUTIONS,
    polls: float = 6.0,
) -> list[Row]:
    """Return what is printed, as data: a row per distribution and tasks learnt."""
    found: list[Row] = []
    for distribution in among:
        durations = distribution.durations
        least = optimum(durations)
        for tasks in stages:
            costs = learnt(durations, tasks, repeats, polls)
            took, late = (mean(each) for each in zip(*costs, strict=True))
            best_late = late / mean(each.lateness / least(each.polls) for each in costs)
            fixed, backoff = (
                at_equal_polls(FAMILIES[name], durations, took).lateness
                for name in ("fixed interval", "back-off")
            )
            row = Row(distribution, tasks, took, late, best_late, fixed, backoff)
            found.append(row)
    return found


def _share(cap: float) -> ShareOfAge:
    # With a cap of 15 seconds this is the schedule as it comes.
    return ShareOfAge(share=cap / 100.0, floor=cap / 30.0, cap=cap, random=Random(1))


FAMILIES: Mapping[str, Callable[[float], Steady | PollSchedule]] = {
    "fixed interval": Steady,
    "back-off": lambda first: Steady(first, 2.0),
    "share of the age": _share,
}


def curves(
    polls: Sequence[float] = (2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0),
    repeats: int = 4,
) -> list[Curve]:
    """Return what each schedule costs at so many polls, for the drawn ones."""
    found: list[Curve] = []
    for distribution in DRAWN:
        durations = distribution.durations
        least = optimum(durations)
        costs = {
            name: [at_equal_polls(make, durations, each) for each in polls]
            for name, make in FAMILIES.items()
        }
        costs["adaptive, after 100 tasks"] = [
            Cost(*map(mean, zip(*learnt(durations, 100, repeats, each), strict=True)))
            for each in polls
        ]
        costs["best possible"] = [Cost(each, least(each)) for each in polls]
        found += (Curve(distribution.name, *each) for each in costs.items())
    return found


def together(distribution: Distribution, tasks: int, batches: int, seed: int) -> Cost:
    """Return the cost of the last of some batches whose tasks begin together."""
    random, schedule = Random(seed), AdaptiveSchedule(seed=seed)
    polls, late = 0, 0.0
    for batch in range(batches):
        polls, late = 0, 0.0
        watched = [
            (schedule.next_delay(task, 0.0), number, task, 0.0)
            for number in range(tasks)
            for task in [TaskRef(f"{batch}-{number}")]
        ]
        evenly = len(distribution.durations) / tasks
        ends = [
            distribution.durations[int((number + random.random()) * evenly)]
            for number in range(tasks)
        ]
        random.shuffle(ends)
        heapify(watched)
        while watched:
            age, number, task, lower = watched[0]
            polls += 1
            if age < ends[number]:
                due = age + schedule.next_delay(task, age)
                heapreplace(watched, (due, number, task, age))
            else:
                heappop(watched)
                late += age - ends[number]
                schedule.learn(task, lower, age)
    return Cost(polls / tasks, late / tasks)


def batches(
    sizes: Sequence[int] = (30, 300),
    repeats: int = 8,
    among: Sequence[Distribution] = DISTRIBUTIONS,
) -> list[Batch]:
    """Return what the first and the fifth batch cost, each of so many tasks."""
    found: list[Batch] = []
    for distribution in among:
        least = optimum(distribution.durations)
        for tasks, number in product(sizes, (1, 5)):
            costs = [
                together(distribution, tasks, number, seed) for seed in range(repeats)
            ]
            took, late = (mean(each) for each in zip(*costs, strict=True))
            row = Batch(distribution.name, tasks, number, took, late, least(took))
            found.append(row)
    return found


def _say(*cells: object) -> None:
    print(*cells, sep="  ", flush=True)  # noqa: T201


def _print_rows(found: Sequence[Row]) -> None:
    _say(f"{'':24}{'learnt':>8}{'polls':>8}{'late s':>8}{'/ best':>8}", end_of_head())
    for row in found:
        name = row.distribution.name + " *" * row.distribution.held_out
        _say(
            f"{name:24}{row.tasks:8}{row.polls:8.2f}{row.lateness:8.2f}"
            f"{row.lateness / row.optimum:8.2f}",
            f"{row.fixed / row.lateness:10.2f}{row.backoff / row.lateness:10.2f}",
        )


def end_of_head() -> str:
    """Return the heads of the columns that compare with others at equal polls."""
    return f"{'fixed /':>10}{'back-off /':>10}"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="less exact")
    quick = parser.parse_args().quick
    _say("Late, over the best possible and others at equal polls; * held out")
    _print_rows(rows(repeats=1 if quick else 8))
    _say("\nNothing learnt, and as ShareOfAge has it (polls, seconds late)")
    for duration in (6.0, 60.0, 600.0):
        near = [duration * (0.95 + 0.001 * step) for step in range(101)]
        cold, share = cost(AdaptiveSchedule(), near), cost(ShareOfAge(), near)
        _say(f"{duration:5.0f} s", *(f"{part:6.2f}" for part in (*cold, *share)))
    _say("\nTasks that begin together, by batch (polls, late / best possible)")
    among = DISTRIBUTIONS[:: 4 if quick else 1]
    for batch in batches((30, 300, 1000), 1 if quick else 8, among):
        _say(
            f"{batch.distribution:24}{batch.tasks:6}{batch.number:3}"
            f"{batch.polls:8.2f}{batch.lateness / batch.optimum:8.2f}"
        )


if __name__ == "__main__":
    main()
