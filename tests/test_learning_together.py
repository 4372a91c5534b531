"""A session's schedule: shared by all that watch, and taught by what they see."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from math import inf
from random import Random
from statistics import mean
from typing import Any

import attrs
import pytest

from camb_async import (
    AdaptiveSchedule,
    CambSession,
    Eta,
    FixedInterval,
    InvalidTaskIdError,
    Limits,
    PollSchedule,
    TaskRef,
    TaskState,
    TaskWatcher,
)
from camb_async.simulator import Simulator

from .benchmarks.budget import NEW, Service, watching
from .fakes import Answer, FakeStatusSource, refused
from .helpers import served
from .learning import teach
from .virtual_time import run
from .watching import read_all


FREE = Limits(max_in_flight=100, max_rate=None)
MEDIAN = 30.0

Call = tuple[Any, ...]


@attrs.define
class Recording(FixedInterval):
    """Polls every ten seconds, and takes down what it is called for, in seconds."""

    calls: list[Call] = attrs.field(factory=list[Call])

    def next_delay(self, task: TaskRef, age: float, *, age_known: bool = True) -> float:
        """Return ten seconds."""
        self.calls.append(("next", round(age), age_known))
        return 10.0

    def learn(
        self, task: TaskRef, lower: float, upper: float, *, entry: float = 0.0
    ) -> None:
        """Take it down."""
        ended = upper if upper == inf else round(upper)
        self.calls.append(("learn", round(lower), ended, round(entry)))


def durations(count: int, seed: int, middle: float = MEDIAN) -> list[float]:
    """Return durations that are spread by a third."""
    random = Random(seed)
    return [middle * random.lognormvariate(0.0, 0.3) for _ in range(count)]


# One schedule for a session.


@attrs.frozen
class Cost:
    """What watching cost a task on average: requests, and seconds of lateness."""

    polls: float
    late: float


async def watched(
    camb: CambSession, simulator: Simulator, count: int, seed: int, *, waits: bool
) -> Cost:
    """Watch new tasks, in one watcher or by a wait for each."""
    now = asyncio.get_running_loop().time
    ends, late = dict[str, float](), list[float]()
    simulator.requests.clear()
    refs: list[TaskRef] = []
    for seconds in durations(count, seed):
        task_id = simulator.add_task(after=seconds)
        ends[task_id] = now() + seconds
        refs.append(TaskRef(task_id, created_at=NEW))

    async def wait(task: TaskRef) -> None:
        await camb.wait(task)
        late.append(now() - ends[task.task_id])

    if waits:
        await asyncio.gather(*map(wait, refs))
    else:
        async with camb.watch(refs) as watcher:
            async for transition in watcher:
                if transition.is_final:
                    late.append(now() - ends[transition.task_id])
    return Cost(len(simulator.requests) / count, mean(late))


@pytest.mark.parametrize("waits", [False, True], ids=["watcher", "waits"])
def test_what_one_watcher_learns_serves_the_others(*, waits: bool) -> None:
    """After a hundred tasks, fewer requests in another watcher, and in waits."""

    async def main(lessons: int) -> Cost:
        schedule = AdaptiveSchedule(seed=1)
        async with served(limits=FREE, schedule=schedule) as (simulator, camb):
            if lessons:
                await watched(camb, simulator, lessons, 1, waits=False)
            return await watched(camb, simulator, 20, 2, waits=waits)

    cold, learnt = run(main(0)), run(main(100))

    assert learnt.polls < 0.75 * cold.polls
    assert learnt.polls < 9.0
    assert learnt.late < 0.1 * MEDIAN


def test_the_schedule_of_a_session_is_that_of_all() -> None:
    """Watchers made either way and waits ask it, unless they are given another."""

    async def main(own: PollSchedule | None) -> list[int]:
        schedule, counts = Recording(), list[int]()
        async with served(limits=FREE, schedule=schedule) as (simulator, camb):
            async with camb.watch([simulator.add_task()], schedule=own) as watcher:
                await read_all(watcher)
            counts.append(len(schedule.calls))
            task = simulator.add_task()
            async with TaskWatcher(camb, [task], schedule=own) as watcher:
                await read_all(watcher)
            counts.append(len(schedule.calls))
            await camb.wait(simulator.add_task(), schedule=own)
            counts.append(len(schedule.calls))
        return counts

    # It is asked when a watch begins and when the task is pending still.
    assert [2, 4, 6] == run(main(None))
    assert [0, 0, 0] == run(main(FixedInterval(1.0)))


# What a schedule is told.


def began(seconds_ago: float = 0.0) -> TaskRef:
    """Return a task whose age is known."""
    return TaskRef("a", created_at=datetime.now(UTC) - timedelta(seconds=seconds_ago))


PENDING, DONE, FAILED = "PENDING", "SUCCESS", refused()
MET: Call = ("next", 0, True)

#: What is answered, of a task this old (None: nobody knows), and what is told then.
STORIES: dict[str, tuple[list[Answer], float | None, list[Call]]] = {
    "pending twice, then done": (
        [PENDING, PENDING, DONE],
        0.0,
        [MET, ("next", 10, True), ("next", 20, True), ("learn", 20, 30, 0)],
    ),
    "done at the first poll": ([DONE], 0.0, [MET, ("learn", 0, 10, 0)]),
    "ended in an error": (
        [PENDING, "ERROR"],
        0.0,
        [MET, ("next", 10, True), ("learn", 10, 20, 0)],
    ),
    "met late": (
        [PENDING, DONE],
        60.0,
        [MET, ("next", 60, True), ("learn", 60, 70, 60)],
    ),
    "met after its end": ([DONE], 60.0, [MET, ("learn", 0, 60, 60)]),
    "of unknown age": (
        [PENDING, PENDING, DONE],
        None,
        [("next", 0, False), ("next", 0, False), ("next", 10, False)],
    ),
    "given up": (
        [PENDING],
        0.0,
        [
            MET,
            ("next", 10, True),
            ("next", 20, True),
            ("next", 25, True),
            ("learn", 25, inf, 0),
        ],
    ),
}


@pytest.mark.parametrize("story", STORIES)
def test_a_schedule_is_told_a_story_in_order(story: str) -> None:
    """Met at age nothing, then asked at the age of each pending answer, then told."""
    answers, age, told = STORIES[story]

    async def main() -> list[Call]:
        schedule = Recording()
        task = TaskRef("a") if age is None else began(age)
        source = FakeStatusSource({"a": answers})
        deadline = 25.0 if answers == [PENDING] else None
        async with TaskWatcher(
            source, [task], schedule=schedule, deadline=deadline
        ) as watcher:
            await read_all(watcher)
        return schedule.calls

    assert told == run(main())


def test_what_failed_polls_say_of_the_age_is_not_told() -> None:
    """The age counts as unknown then; what was seen before still bounds the end."""
    schedule = Recording()
    answers: list[Answer] = [PENDING, FAILED, FAILED, FAILED, PENDING, FAILED, DONE]

    async def main() -> None:
        source = FakeStatusSource({"a": answers})
        async with TaskWatcher(source, [began()], schedule=schedule) as watcher:
            await read_all(watcher)

    run(main())
    *asked, (_, lower, upper, entry) = schedule.calls

    assert [True, True, False, False, False, True, False] == [c[2] for c in asked]
    assert asked[5][1] == lower
    assert asked[6][1] <= upper
    assert 0 == entry


def test_a_task_that_is_discarded_teaches_nothing() -> None:
    """It was seen pending, and that is all."""
    schedule = Recording()

    async def main() -> None:
        source, task = FakeStatusSource(), began()
        async with TaskWatcher(source, [task], schedule=schedule) as watcher:
            await asyncio.sleep(15)
            watcher.discard(task)
            await asyncio.sleep(60)

    run(main())

    assert [MET, ("next", 10, True)] == schedule.calls


# What must not spoil what is learnt.


class Flaky(Service):
    """A service that is out of order between two times."""

    out: tuple[float, float] = (inf, inf)

    async def poll(self, task: TaskRef, /) -> TaskState:
        """Answer, or fail."""
        now = asyncio.get_running_loop().time()
        if self.out[0] <= now < self.out[1]:
            await asyncio.sleep(0.1)
            raise refused()
        return await super().poll(task)


def median_learnt(
    *, out: tuple[float, float] = (inf, inf), odd: str | None = None
) -> float:
    """Return the median learnt from 150 tasks of half a minute, in three batches.

    With ``odd``, as many others are watched that must teach nothing wrong.
    """

    async def main() -> float:
        service, schedule = Flaky(FREE), AdaptiveSchedule(seed=1)
        service.out = out
        async with watching(
            service, schedule=schedule, deadline=None, keep_open=True
        ) as watcher:
            for batch in range(3):
                await _batch(service, watcher, batch, odd)
        schedule.to_dict()  # which brings the model up to date
        eta = schedule.eta(TaskRef("new"), 0.0)
        assert eta is not None

        return eta.median

    return run(main())


async def _batch(
    service: Service, watcher: TaskWatcher, batch: int, odd: str | None
) -> None:
    others: list[TaskRef] = []
    for number, seconds in enumerate(durations(50, batch)):
        task = TaskRef(f"{batch}-{number}", created_at=NEW)
        service.begin(task, seconds)
        watcher.add(task)
        if odd is not None:
            born = None if odd == "unknown age" else NEW
            other = TaskRef(f"odd-{batch}-{number}", created_at=born)
            others.append(other)
            # Of those of unknown age little is left.
            service.begin(other, 3.0 if born is None else seconds)
            watcher.add(other, deadline=20.0 if odd == "given up" else None)
    await asyncio.sleep(10)
    for other in others:
        if odd == "discarded":
            watcher.discard(other)
    await asyncio.sleep(150)


@pytest.mark.parametrize("out", [(180.0, 200.0), (165.0, 220.0)], ids=str)
def test_an_outage_does_not_spoil_what_is_learnt(out: tuple[float, float]) -> None:
    """Failed polls say nothing; the ends in between are known less exactly."""
    assert pytest.approx(median_learnt(), rel=0.1) == median_learnt(out=out)
    assert pytest.approx(MEDIAN, rel=0.15) == median_learnt(out=out)


@pytest.mark.parametrize("odd", ["discarded", "unknown age", "given up"])
def test_odd_tasks_do_not_spoil_what_is_learnt(odd: str) -> None:
    """As many as there are others, in each batch."""
    assert pytest.approx(median_learnt(), rel=0.15) == median_learnt(odd=odd)


# Nothing learnt yet.


@pytest.mark.parametrize("born", [NEW, None], ids=["new", "unknown age"])
@pytest.mark.parametrize(("duration", "polls"), [(6.0, 12), (60.0, 28), (600.0, 65)])
def test_a_cold_default_costs_what_it_should(
    duration: float, polls: int, born: datetime | None
) -> None:
    """Through a whole watcher: requests, and lateness, of one task on its own."""

    async def main(seed: int) -> Cost:
        service, task = Service(FREE), TaskRef("a", created_at=born)
        service.begin(task, duration)
        schedule = AdaptiveSchedule(seed=seed)
        async with watching(service, [task], schedule=schedule) as watcher:
            await read_all(watcher)
            now = asyncio.get_running_loop().time()
        return Cost(len(service.log), now - service.end_of(task))

    costs = [run(main(seed)) for seed in range(25)]

    assert mean(cost.polls for cost in costs) <= 1.25 * polls
    assert mean(cost.late for cost in costs) <= 0.15 * duration + 0.9


# When a task is likely to be done.


def eta_of(
    schedule: PollSchedule, asked_for: TaskRef | str, after: float = 10.0
) -> Eta | None:
    """Return what a watcher says of a task after a while; it watches "a" alone."""

    async def main() -> Eta | None:
        source = FakeStatusSource()
        async with TaskWatcher(
            source, [TaskRef("a", created_at=NEW)], schedule=schedule
        ) as watcher:
            await asyncio.sleep(after)
            return watcher.eta(asked_for)

    return run(main())


def taught() -> AdaptiveSchedule:
    """Return a schedule that knows tasks of half a minute."""
    schedule = AdaptiveSchedule(seed=1)
    teach(schedule, 100, median=MEDIAN)
    return schedule


def test_a_watched_task_has_an_eta() -> None:
    """It counts from now, and what is left gets less as time passes."""
    early, late = eta_of(taught(), "a", 10.0), eta_of(taught(), "a", 20.0)
    assert early is not None
    assert late is not None

    assert pytest.approx(MEDIAN - 10.0, rel=0.2) == early.median
    assert early.low < early.median < early.high
    assert early.done_by_now < 0.1 < late.done_by_now < 0.4
    assert late.median < early.median


class Blind(FixedInterval):
    """A schedule that cannot say when, though asked."""

    def eta(self, task: TaskRef, age: float, *, age_known: bool = True) -> Eta | None:
        """Raise."""
        raise LookupError(task.task_id)


@pytest.mark.parametrize(
    ("schedule", "asked_for"),
    [
        (taught(), "b"),
        (AdaptiveSchedule(), "a"),
        (FixedInterval(), "a"),
        (Blind(), "a"),
        (Blind(), "b"),
    ],
    ids=["not watched", "nothing learnt", "no eta", "eta raises", "not asked"],
)
def test_where_nobody_knows_there_is_no_eta(
    schedule: PollSchedule, asked_for: str
) -> None:
    """None, whatever the reason."""
    assert eta_of(schedule, asked_for) is None


def test_an_eta_that_fails_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The fault of the schedule costs a warning."""
    eta_of(Blind(), "a")

    assert ["WARNING"] == [record.levelname for record in caplog.records]
    assert "could not foresee a" in caplog.text


@pytest.mark.parametrize("wrong", ["", "a/b", "..", "a b"])
def test_an_eta_of_what_is_no_task_id_is_refused(wrong: str) -> None:
    """As everywhere."""
    with pytest.raises(InvalidTaskIdError):
        eta_of(FixedInterval(), wrong)
