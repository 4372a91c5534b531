"""A budget of requests that is too small: who is polled first, and what that gains.

Run it: ``python -m tests.benchmarks.budget [--quick]``. A hundred tasks are watched
at all times, and want several times the polls that the rate allows. The watchers, the
limiter and the learnt schedule are the real ones; the service and the clock are not,
so that hours take seconds. Two others are compared with: the same schedule with a
queue in the place of the ranking, and all tasks polled in turn, which knows nothing.
Lateness is the time from the end of a task to the transition.
"""

# Chance is made repeatable inside the limiter and the pollers.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from math import inf
from random import Random
from statistics import mean, median
from typing import Any, Final

import attrs

from camb_async import (
    AdaptiveSchedule,
    FixedInterval,
    Limits,
    PollSchedule,
    TaskKind,
    TaskRef,
    TaskState,
    TaskStatus,
    TaskWatcher,
)
from camb_async import _ranking as ranking
from camb_async._limiter import Limiter
from tests.virtual_time import run


IN_FLIGHT: Final = 100
LATENCY: Final = 0.1
#: Requests a task that a learnt schedule asks for, as it does by default.
POLLS: Final = 6.0
_LEARNT = 150
# A task that begins in the future is one that begins now: the machine's clock does
# not go with the virtual one.
NEW: Final = datetime.max.replace(tzinfo=UTC)
_STATES = {
    over: TaskState(TaskStatus.SUCCESS if over else TaskStatus.PENDING, run_id=1)
    for over in (False, True)
}

#: Draws how long a task takes, in seconds.
Draw = Callable[[Random], float]


@attrs.frozen
class Load:
    """What is watched: kinds of tasks, so many of each at a time, and the budget."""

    name: str
    kinds: Sequence[tuple[TaskKind, int, float, Draw]]
    overload: float = 3.0
    watchers: int = 1

    @property
    def rate(self) -> float:
        """Requests a second that are allowed."""
        return sum(n * POLLS / size for _, n, size, _ in self.kinds) / self.overload


@attrs.frozen
class Outcome:
    """What came of it: seconds late on average and in the worst of twenty cases.

    ``unpolled`` is the longest time, in seconds, that a task was not polled.
    """

    mean: float
    p95: float
    unpolled: float


@attrs.frozen
class Row:
    """One load, ranked and in two other ways: medians over some seeds.

    ``queued`` has the same schedule, and who is due first goes first; ``in_turn``
    polls all tasks in turn, round-robin.
    """

    load: Load
    ranked: Outcome
    queued: Outcome
    in_turn: Outcome


class Service:
    """Tasks that take their time, behind the limiter of a session.

    ``log`` has a pair for each poll: when it left, and of which task.
    """

    def __init__(self, limits: Limits, seed: int = 0) -> None:
        self.limits = limits
        self.log: list[tuple[float, TaskRef]] = []
        self._ends: dict[TaskRef, float] = {}
        self._asked: dict[TaskRef, float] = {}
        self._unpolled = 0.0
        self._loop = asyncio.get_running_loop()
        self._limiter = Limiter(limits)
        self._limiter._random.seed(seed)

    @property
    def sent(self) -> list[float]:
        """Return when polls left, in order."""
        return [at for at, _ in self.log]

    def begin(self, task: TaskRef, seconds: float) -> None:
        """Let a task begin."""
        self._asked[task] = now = self._loop.time()
        self._ends[task] = now + seconds

    def end_of(self, task: TaskRef) -> float:
        """Return when a task ended, and forget it."""
        del self._asked[task]
        return self._ends.pop(task)

    def longest_unpolled(self) -> float:
        """Return the longest time, in seconds, that a task was not polled."""
        now = self._loop.time()
        return max(self._unpolled, *(now - asked for asked in self._asked.values()))

    async def poll(self, task: TaskRef, /) -> TaskState:
        """Answer when the limits allow."""
        await self._limiter.acquire()
        try:
            now = self._loop.time()
            self.log.append((now, task))
            self._unpolled = max(self._unpolled, now - self._asked[task])
            self._asked[task] = now
            state = _STATES[self._ends[task] <= now]
            await asyncio.sleep(LATENCY)
            return state
        finally:
            self._limiter.release()


@asynccontextmanager
async def watching(
    service: Service,
    tasks: Iterable[TaskRef] = (),
    *,
    seed: int = 0,
    **options: Any,
) -> AsyncGenerator[TaskWatcher]:
    """Watch tasks so that chance is repeatable."""
    async with TaskWatcher(service, **options) as watcher:
        watcher._engine._random.seed(seed)
        watcher._engine._pollers._random.seed(seed)
        for task in tasks:
            watcher.add(task)
        yield watcher


def lognormal(middle: float, sigma: float) -> Draw:
    """Return durations whose logarithms are normal."""
    return lambda random: middle * random.lognormvariate(0.0, sigma)


def memoryless(average: float) -> Draw:
    """Return durations of which the time so far says nothing."""
    return lambda random: average * random.expovariate(1.0)


_FIVE, _SIXTY, _SIX_HUNDRED = TaskKind.TTS, TaskKind.TEXT_TO_VOICE, TaskKind.DUB
_SPREAD = 0.4


def _kind(
    kind: TaskKind, tasks: int, middle: float
) -> tuple[TaskKind, int, float, Draw]:
    return kind, tasks, middle * 1.083, lognormal(middle, _SPREAD)


def _three(*tasks: int) -> list[tuple[TaskKind, int, float, Draw]]:
    kinds = (_FIVE, 5.0), (_SIXTY, 60.0), (_SIX_HUNDRED, 600.0)
    return [
        _kind(kind, count, middle)
        for (kind, middle), count in zip(kinds, tasks, strict=True)
    ]


LOADS: Final = (
    Load("one kind, 60 s, sigma .4", [_kind(_SIXTY, IN_FLIGHT, 60.0)]),
    Load("5, 60, 600 s, as many of each", _three(34, 33, 33)),
    Load("5, 60, 600 s, begun as often", _three(1, 9, 90)),
    Load("memoryless, 60 s", [(_SIXTY, IN_FLIGHT, 60.0, memoryless(60.0))]),
)


def taught(load: Load, seed: int) -> AdaptiveSchedule:
    """Return a schedule that has seen tasks of all kinds, polled when it wanted."""
    random, schedule = Random(seed), AdaptiveSchedule(polls=POLLS, seed=seed)
    for kind, _, _, draw in load.kinds:
        for number in range(_LEARNT):
            task, seconds = TaskRef(f"learnt-{number}", kind), draw(random)
            lower = age = 0.0
            while age < seconds:
                lower, age = age, age + schedule.next_delay(task, age)
            schedule.learn(task, lower, age)
    return schedule


class Trial:
    """One run: tasks of a load, each followed by another of its kind."""

    def __init__(
        self, load: Load, schedule: PollSchedule, seed: int, tasks: int
    ) -> None:
        self.schedule = schedule
        self.load, self.seed = load, seed
        self.late: list[float] = []
        self._random = Random(1000 + seed)
        self._warm_up = -IN_FLIGHT * 3
        self._tasks = tasks
        self._draws = {kind: draw for kind, _, _, draw in load.kinds}
        self._begun = 0

    async def run(self) -> Outcome:
        """Return what came of it."""
        load = self.load
        service = self.service = Service(Limits(max_rate=load.rate), self.seed)
        self._enough = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            watchers = [
                group.create_task(self._watch(number))
                for number in range(load.watchers)
            ]
            await self._enough.wait()
            for watcher in watchers:
                watcher.cancel()
        late = sorted(self.late)
        worst = late[len(late) * 95 // 100]
        return Outcome(mean(late), worst, service.longest_unpolled())

    async def _watch(self, number: int) -> None:
        async with watching(
            self.service,
            seed=self.seed,
            schedule=self.schedule,
            deadline=None,
            keep_open=True,
        ) as watcher:
            for kind, count, _, _ in self.load.kinds:
                for _ in range(number, count, self.load.watchers):
                    self._add(watcher, kind)
            async for transition in watcher:
                if transition.is_final:
                    self._note(transition.task)
                    self._add(watcher, transition.task.kind)

    def _add(self, watcher: TaskWatcher, kind: TaskKind) -> None:
        self._begun += 1
        task = TaskRef(f"t{self._begun}", kind, created_at=NEW)
        self.service.begin(task, self._draws[kind](self._random))
        watcher.add(task)

    def _note(self, task: TaskRef) -> None:
        late = asyncio.get_running_loop().time() - self.service.end_of(task)
        self._warm_up += 1
        if self._warm_up > 0:
            self.late.append(late)
            if len(self.late) == self._tasks:
                self._enough.set()


@contextmanager
def first_come_first_served() -> Generator[None]:
    """Have everything that waits take its turn in order."""
    patience, ranking.PATIENCE = ranking.PATIENCE, inf
    try:
        yield
    finally:
        ranking.PATIENCE = patience


def always(_load: Load, seed: int) -> PollSchedule:
    """Return a schedule by which all tasks are due at all times."""
    return FixedInterval(1e-3, random=Random(seed))


def outcome(
    load: Load, make: Callable[[Load, int], PollSchedule], seeds: int, tasks: int
) -> Outcome:
    """Return the medians over some seeds."""
    each = [
        run(Trial(load, make(load, seed), seed, tasks).run()) for seed in range(seeds)
    ]
    columns = zip(*map(attrs.astuple, each), strict=True)
    return Outcome(*map(median, columns))


def rows(seeds: int = 5, tasks: int = 1500) -> list[Row]:
    """Return what is printed, as data: a row per load and how much too small it is."""
    found: list[Row] = []
    for load in (
        attrs.evolve(load, overload=overload)
        for load in LOADS
        for overload in (2.0, 4.0)
    ):
        ranked = outcome(load, taught, seeds, tasks)
        with first_come_first_served():
            queued = outcome(load, taught, seeds, tasks)
            in_turn = outcome(load, always, seeds, tasks)
        found.append(Row(load, ranked, queued, in_turn))
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="less exact")
    quick = parser.parse_args().quick
    _say("Demand over budget, budget a second; seconds late on average, in the worst")
    _say("of twenty cases, longest unpolled; mean lateness of others over that")
    _say(
        f"{'':30}{'over':>5}{'rate':>7}{'mean':>7}{'p95':>7}{'gap':>6}"
        f"{'queue /':>9}{'p95':>6}{'gap':>6}{'in turn /':>11}{'p95':>6}{'gap':>6}"
    )
    for row in rows(1, 500) if quick else rows():
        load, own = row.load, row.ranked
        others = (
            f"{other.mean / own.mean:{width}.2f}{other.p95:6.1f}{other.unpolled:6.0f}"
            for other, width in ((row.queued, 9), (row.in_turn, 11))
        )
        _say(
            f"{load.name:30}{load.overload:5.0f}{load.rate:7.2f}{own.mean:7.2f}"
            f"{own.p95:7.2f}{own.unpolled:6.0f}" + "".join(others)
        )


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
