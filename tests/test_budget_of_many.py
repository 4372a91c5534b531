"""One budget of requests for many tasks: who goes first, and that nobody never does."""

# Chance is made repeatable inside the limiter and the pollers.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

import pytest

from camb_async import (
    CambSession,
    DeadlineExceededError,
    FixedInterval,
    Limits,
    PollSchedule,
    ShareOfAge,
    TaskRef,
    TaskWatcher,
)
from camb_async.simulator import Simulator

from .benchmarks.budget import (
    LOADS,
    NEW,
    Load,
    Service,
    always,
    first_come_first_served,
    outcome,
    taught,
    watching,
)
from .helpers import DESCRIPTION, most_in_a_second, served
from .virtual_time import run


RATE = 10.0
FEW = Limits(max_rate=RATE)
EVER = 1e9


class Valued(FixedInterval):
    """Polls when it may, and values a task by its id: ``worth-7``."""

    def priority(
        self, task: TaskRef, asked: float, age: float, *, age_known: bool = True
    ) -> float:
        """Return the number in the id."""
        return float(task.task_id.split("-")[1])


ALWAYS = Valued(0.1)


def named(worth: int, count: int, name: str = "a") -> list[str]:
    """Return ids of tasks that are worth so much."""
    return [f"worth-{worth}-{name}{number}" for number in range(count)]


def endless(service: Service, ids: list[str]) -> list[TaskRef]:
    """Let tasks begin that never end."""
    refs = [TaskRef(task_id, created_at=NEW) for task_id in ids]
    for ref in refs:
        service.begin(ref, EVER)
    return refs


def polls_of(simulator: Simulator) -> Counter[str]:
    """Return how often each task was polled."""
    return Counter(
        request.path.rsplit("/", 1)[1]
        for request in simulator.requests
        if request.method == "GET"
    )


def polled(
    schedule: Callable[[], PollSchedule], refs: dict[str, float], seconds: float
) -> tuple[Counter[str], Service]:
    """Watch endless tasks of these ages; return how often each was polled."""

    async def main() -> tuple[Counter[str], Service]:
        service = Service(FEW)
        tasks = endless(service, list(refs))
        # Until as old as they should be they are not watched.
        start = max(refs.values())
        by_age = sorted(tasks, key=lambda task: -refs[task.task_id])
        async with watching(service, schedule=schedule(), deadline=None) as watcher:
            for task in by_age:
                now = asyncio.get_running_loop().time()
                await asyncio.sleep(max(0.0, start - refs[task.task_id] - now))
                watcher.add(task)
            service.log.clear()
            await asyncio.sleep(seconds)
        return Counter(task.task_id for _, task in service.log), service

    return run(main())


# The most valuable goes first.


def test_the_valuable_goes_first_over_all_watchers_and_waits() -> None:
    """Sixty tasks want ten polls a second each of the ten that there are."""

    async def main() -> Counter[str]:
        async with served(limits=FEW, schedule=ALWAYS) as (simulator, camb):
            one, two, three = (
                [*named(0, 19, name), f"worth-1-{name}"] for name in "abc"
            )
            for task_id in (*one, *two, *three):
                simulator.add_task(task_id, status="PENDING")
            async with camb.watch(one), camb.watch(two), asyncio.TaskGroup() as group:
                waits = [group.create_task(camb.wait(task_id)) for task_id in three]
                await asyncio.sleep(90)
                for wait in waits:
                    wait.cancel()
            return polls_of(simulator)

    polls = run(main())
    valuable = [polls[f"worth-1-{name}"] for name in "abc"]
    others = [count for task_id, count in polls.items() if "worth-0" in task_id]

    assert 57 == len(others)
    assert min(valuable) > 4 * max(others)


def test_a_last_poll_goes_before_all_others() -> None:
    """At a deadline one is owed an answer, however little the task is worth."""

    async def main() -> tuple[float, float]:
        service = Service(FEW)
        busy = endless(service, named(100, 100))
        last = endless(service, named(0, 1))[0]
        async with watching(service, busy, schedule=ALWAYS, deadline=None) as watcher:
            await asyncio.sleep(20)
            with pytest.raises(DeadlineExceededError) as caught:
                await watcher.wait(last, deadline=5.0)
        asked = max(at for at, task in service.log if task == last)
        return asked, caught.value.elapsed

    asked, elapsed = run(main())

    assert asked >= 25.0
    assert elapsed < 5.0 + 30 / RATE


# Calls.


def overloaded(camb: CambSession, simulator: Simulator) -> TaskWatcher:
    """Return a watcher whose tasks want ten times the budget."""
    tasks = named(1, 100)
    for task_id in tasks:
        simulator.add_task(task_id, status="PENDING")
    return camb.watch(tasks, schedule=ALWAYS, deadline=None)


def test_calls_go_before_polls() -> None:
    """Somebody waits for them: a status and a create take their turn at once."""

    async def main() -> float:
        async with (
            served(limits=FEW) as (simulator, camb),
            overloaded(camb, simulator),
        ):
            await asyncio.sleep(20)
            began = asyncio.get_running_loop().time()
            await asyncio.gather(
                *(camb.get_task_status("worth-1-a1") for _ in range(8)),
                camb.create_text_to_voice(text="Hello.", voice_description=DESCRIPTION),
            )
            return asyncio.get_running_loop().time() - began

    # Nine calls in three of four turns.
    assert run(main()) < 16 / RATE


def test_calls_do_not_starve_polls() -> None:
    """However many there are, one turn in four is a poll's."""

    async def main() -> tuple[int, int]:
        async with (
            served(limits=FEW) as (simulator, camb),
            overloaded(camb, simulator) as watcher,
        ):
            await asyncio.sleep(20)
            before = watcher.stats().polls
            simulator.requests.clear()
            await asyncio.gather(
                *(camb.get_task_status("worth-1-a1") for _ in range(150))
            )
            return watcher.stats().polls - before, len(simulator.requests)

    polls, sent = run(main())

    assert 0.2 < polls / sent < 0.3


# The rate, and that nobody starves.


@pytest.mark.parametrize("rate", [10.0, 20.0, 50.0])
def test_no_second_has_more_than_the_limit(rate: float) -> None:
    """Nor a tenth more of it, with what may be saved up, after a silence either."""

    async def main() -> list[float]:
        service = Service(Limits(max_rate=rate))
        one, two = (endless(service, named(1, 100, name)) for name in "ab")
        for _ in range(3):
            async with (
                watching(service, one, schedule=Valued(0.5)),
                watching(service, two, schedule=Valued(3.0)),
            ):
                await asyncio.sleep(30)
            await asyncio.sleep(7)
        return service.sent

    sent = run(main())

    assert len(sent) > 85 * rate
    assert most_in_a_second(sent) <= 1.1 * rate + 0.1 * rate


@pytest.mark.parametrize("watchers", [1, 4])
def test_nobody_starves(watchers: int) -> None:
    """Ten minutes of ten times the budget; half of the tasks are worth nothing."""

    async def main() -> tuple[float, Counter[int]]:
        service = Service(FEW)
        tasks = endless(service, named(9, 50) + named(0, 50))
        async with asyncio.TaskGroup() as group:
            for number in range(watchers):
                group.create_task(_watch(service, tasks[number::watchers], 600.0))
        last = service.longest_unpolled()
        return last, Counter(int(task.task_id[6]) for _, task in service.log)

    longest, polls = run(main())
    fair_share = 100 / RATE

    assert longest < 8 * fair_share
    assert polls[9] > polls[0]


async def _watch(service: Service, tasks: list[TaskRef], seconds: float) -> None:
    async with watching(service, tasks, schedule=ALWAYS, deadline=None):
        await asyncio.sleep(seconds)


# Schedules that rank nothing.


@pytest.mark.parametrize(
    "make", [lambda: FixedInterval(1.0), lambda: ShareOfAge(cap=1.0)], ids=["f", "s"]
)
def test_without_values_the_longest_unpolled_goes_first(
    make: Callable[[], PollSchedule],
) -> None:
    """Tasks of one age are polled in turn, more or less."""
    polls, service = polled(make, dict.fromkeys(named(0, 60), 0.0), 300.0)

    assert 60 == len(polls)
    assert min(polls.values()) > 0.7 * 300.0 * RATE / 60
    assert max(polls.values()) < 1.3 * 300.0 * RATE / 60
    assert service.longest_unpolled() < 3 * 60 / RATE


def test_without_values_the_young_go_first() -> None:
    """Of tasks that are old already fewer end in the same time, as a rule."""
    ages = dict.fromkeys(named(0, 30, "old"), 600.0) | dict.fromkeys(
        named(0, 30, "new"), 0.0
    )
    polls, _ = polled(lambda: FixedInterval(1.0), ages, 100.0)
    old = sum(count for task_id, count in polls.items() if "old" in task_id)

    assert old < (polls.total() - old) / 1.1
    assert 60 == len(polls)


# What that gains.


@pytest.mark.slow
@pytest.mark.parametrize(
    ("load", "gain"),
    list(zip(LOADS, (1.2, 1.9, 1.9, 0.85), strict=True)),
    ids=[load.name for load in LOADS],
)
def test_tasks_are_seen_to_end_sooner_than_in_turn(load: Load, gain: float) -> None:
    """A hundred tasks that want three times the budget, by a schedule that learnt.

    Memoryless ones are best polled in turn, and learning that costs a little.
    """
    learnt = outcome(load, taught, 2, 1000)
    with first_come_first_served():
        in_turn = outcome(load, always, 2, 1000)

    assert in_turn.mean / learnt.mean > gain
