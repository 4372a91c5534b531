"""Cases 19 to 25: when requests leave, and how many.

The session, the watcher and the simulator are the real ones, over sockets; only the
clock is virtual, so that an hour takes no time and a second is exactly one.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cache
from random import Random
from typing import Any, Self

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from camb_async import (
    APITimeoutError,
    CambSession,
    DeadlineExceededError,
    FixedInterval,
    Limits,
    PollSchedule,
    RateLimitError,
    RetryPolicy,
    ServerError,
    ShareOfAge,
    TaskRef,
    TaskStatus,
    TaskTimeoutError,
    TaskWatcher,
    Transition,
)
from camb_async.simulator import Fault, Simulator
from tests.fakes import FakeStatusSource, refused, state
from tests.helpers import most_in_a_second, served
from tests.virtual_time import run, virtual_loop
from tests.watching import read_all, texts, watch


#: Requests that may leave in a second: the rate, and a tenth of it saved up.
RATE = 50.0
BUDGET = 55
DEFAULTS: dict[str, Any] = {"limits": Limits(max_rate=RATE), "retry": RetryPolicy()}

units = st.floats(0.0, 1.0, exclude_max=True)
policies = st.builds(
    RetryPolicy,
    backoff_initial=st.floats(1e-6, 1e6),
    backoff_max=st.floats(1e-6, 1e6),
)


def times(simulator: Simulator) -> list[float]:
    """Return when requests came in, in loop time."""
    return [request.at for request in simulator.requests]


def endless(simulator: Simulator, count: int) -> list[str]:
    """Add tasks that never end."""
    return [simulator.add_task(status="PENDING") for _ in range(count)]


# 19: a Retry-After that is longer than the caller's patience.


def test_case_19_a_read_waits_as_told_or_gives_up_at_once() -> None:
    """What is asked for is waited for, unless it is more than the back-off's cap."""

    async def main() -> None:
        async with served(retry=RetryPolicy(backoff_max=30.0)) as (simulator, camb):
            now = asyncio.get_running_loop().time
            told = Fault("429", retry_after="30")
            await camb.get_task_status(simulator.add_task(answers=[told, "PENDING"]))
            assert 30.0 <= now() <= 30.2
            before = now()
            told = Fault("429", retry_after="30.1")
            with pytest.raises(RateLimitError) as caught:
                await camb.get_task_status(simulator.add_task(answers=[told]))
            assert before == pytest.approx(now(), abs=0.2)
            assert 30.1 == caught.value.retry_after
            assert 3 == len(simulator.requests)

    run(main())


@pytest.mark.parametrize("asked_for", [5.0, 50.0, 500.0])
def test_case_19_a_watch_parks_until_then(asked_for: float) -> None:
    """It is neither polled earlier nor given up."""

    async def main() -> list[float]:
        async with served() as (simulator, camb):
            told = Fault("429", retry_after=str(asked_for))
            task = simulator.add_task(answers=[told, "SUCCESS"])
            assert TaskStatus.SUCCESS is (await camb.wait(task)).status
            return times(simulator)

    first, second = run(main())

    assert asked_for <= second - first <= asked_for + 0.2


def test_case_19_a_watch_parks_no_longer_than_its_deadline() -> None:
    """The deadline comes first, and the error says what the last answer was."""

    async def main() -> DeadlineExceededError:
        async with served() as (simulator, camb):
            told = Fault("429", retry_after="3000")
            with pytest.raises(DeadlineExceededError) as caught:
                await camb.wait(simulator.add_task(answers=[told]), deadline=120)
            return caught.value

    error = run(main())

    assert 120.0 == pytest.approx(error.elapsed, abs=3.0)
    assert isinstance(error.__cause__, RateLimitError)


def test_case_19_only_the_task_that_was_told_is_parked() -> None:
    """The next poll of the task comes no sooner than the server asked for."""
    told = RateLimitError("slow down", status_code=429, retry_after=50.0)
    source = FakeStatusSource({"a": [told, "SUCCESS"], "b": ["PENDING", "SUCCESS"]})
    watch(source, "a", "b")
    first, second = source.polls("a")

    assert second - first >= 50.0
    assert source.polls("b")[-1] < 5.0


# 20: one poller is told to slow down, and all do.


def test_case_20_a_retry_after_to_one_stops_all_and_then_all_go_on() -> None:
    """A hundred tasks are silent for as long as one was told, and are back at once."""

    async def main() -> tuple[list[float], list[float]]:
        async with served(**DEFAULTS) as (simulator, camb):
            tasks = endless(simulator, 100)
            async with TaskWatcher(camb, tasks, schedule=FixedInterval(1.0)):
                await asyncio.sleep(10)
                simulator.fail(Fault("429", retry_after="4"), task_id=tasks[0])
                await asyncio.sleep(20)
            return times(simulator), [
                request.at for request in simulator.requests if request.answer == "429"
            ]

    sent, (refused_at,) = run(main())
    silent = [at for at in sent if refused_at < at < refused_at + 4.0]
    after = [at for at in sent if refused_at + 5.0 <= at < refused_at + 10.0]

    assert [] == silent
    assert most_in_a_second(sent) <= BUDGET
    assert 5 * RATE == pytest.approx(len(after), rel=0.05)


def test_case_20_refusals_slow_down_who_was_not_refused() -> None:
    """Without a Retry-After, the rate of all falls, and recovers after."""

    async def main() -> tuple[list[float], float]:
        async with served(**DEFAULTS) as (simulator, camb):
            tasks = endless(simulator, 100)
            async with TaskWatcher(camb, tasks, schedule=FixedInterval(1.0)):
                await asyncio.sleep(10)
                simulator.fail("429_no_header", times=30)
                await asyncio.sleep(90)
            return times(simulator), max(
                request.at for request in simulator.requests if request.answer != 200
            )

    sent, last = run(main())
    slow = [at for at in sent if last < at <= last + 1.0]
    recovered = [at for at in sent if at > sent[-1] - 10.0]

    assert len(slow) < RATE / 4
    assert most_in_a_second(sent) <= BUDGET
    assert 10 * RATE == pytest.approx(len(recovered), rel=0.05)


def test_case_20_the_rate_is_held_over_all_callers() -> None:
    """Watchers and calls share one budget; no second has more than the limit."""

    async def main() -> list[float]:
        async with served(**DEFAULTS) as (simulator, camb):
            tasks = endless(simulator, 200)
            one, two = (camb.watch(half) for half in (tasks[:100], tasks[100:]))
            async with one, two:
                await asyncio.gather(*(camb.poll(task) for task in tasks))
                await asyncio.sleep(10)
            return times(simulator)

    sent = run(main())

    assert len(sent) > 8 * RATE
    assert most_in_a_second(sent) <= BUDGET


# 21: an outage while many are watched.


TASKS = 200
#: How each schedule polls, by name, with and without an outage by the same lots, and
#: the longest that it lets pass between two polls of a task.
SCHEDULES: dict[str, tuple[Callable[[], PollSchedule], float]] = {
    "every 5 s": (lambda: FixedInterval(random=Random(21)), 5.0 * 1.1),
    "by age": (lambda: ShareOfAge(random=Random(21)), 15.0 * 1.2),
}


@attrs.frozen
class Minute:
    """What came of a minute, with an outage or without."""

    sent: int
    polled_again_after: float
    still_watched: int


@cache
def minute(schedule: str, fault: str | None) -> Minute:
    """Watch many tasks through a minute in which the service answers by a fault."""

    async def main() -> Minute:
        now = asyncio.get_running_loop().time
        make, longest = SCHEDULES[schedule]
        async with served(**DEFAULTS) as (simulator, camb):
            tasks = endless(simulator, TASKS)
            async with camb.watch(tasks, schedule=make(), deadline=None) as watcher:
                await asyncio.sleep(60)
                simulator.requests.clear()
                if fault is not None:
                    simulator.fail(fault, times=None)
                await asyncio.sleep(60)
                sent = len(simulator.requests)
                simulator.heal()
                simulator.requests.clear()
                healed_at = now()
                polled = set[str]()
                while len(polled) < TASKS and now() < healed_at + 10 * longest:
                    await asyncio.sleep(0.1)
                    polled |= {request.path for request in simulator.requests}
                return Minute(sent, now() - healed_at, watcher.stats().watching)

    return run(main())


outages = pytest.mark.parametrize(
    ("schedule", "fault"),
    [
        ("every 5 s", "503"),
        ("by age", "disconnect"),
        *(
            pytest.param(schedule, fault, marks=pytest.mark.slow)
            for schedule, faults in {
                "every 5 s": ("500", "disconnect", "reset"),
                "by age": ("503", "500", "reset"),
            }.items()
            for fault in faults
        ),
    ],
)


@outages
def test_case_21_an_outage_brings_no_flood(schedule: str, fault: str) -> None:
    """At the server, no more than a tenth above what comes without an outage."""
    assert minute(schedule, fault).sent <= 1.1 * minute(schedule, None).sent


@outages
def test_case_21_an_outage_ends_no_watch(schedule: str, fault: str) -> None:
    """Neither while it lasts nor after."""
    assert TASKS == minute(schedule, fault).still_watched


@outages
def test_case_21_after_an_outage_all_are_polled_again(
    schedule: str, fault: str
) -> None:
    """Within one interval of the schedule, and the time that the limits need."""
    _, longest = SCHEDULES[schedule]

    assert minute(schedule, fault).polled_again_after <= longest + TASKS / RATE


# 22: the shape of the back-off.


@pytest.mark.parametrize(
    ("failures", "bound"),
    [(1, 0.5), (2, 1.0), (3, 2.0), (4, 4.0), (6, 16.0), (7, 30.0), (99, 30.0)],
)
def test_case_22_backoff_doubles_up_to_its_cap(failures: int, bound: float) -> None:
    """The bound doubles from the first one with each failure, up to the last."""
    policy = RetryPolicy()

    assert bound / 2 == policy.backoff(failures, 0.5)
    assert policy.backoff(failures, 0.0) == 0.0


@given(policies, st.integers(), units)
def test_case_22_backoff_is_in_range_for_any_number_of_failures(
    policy: RetryPolicy, failures: int, unit: float
) -> None:
    """No count of failures overflows, or leaves zero to the cap."""
    delay = policy.backoff(failures, unit)

    assert 0.0 <= delay <= policy.backoff_max


@given(policies, st.integers(1, 10**30), units)
def test_case_22_backoff_never_shrinks_as_failures_add_up(
    policy: RetryPolicy, failures: int, unit: float
) -> None:
    """With the same luck, one more failure waits at least as long."""
    assert policy.backoff(failures, unit) <= policy.backoff(failures + 1, unit)


#: Nine degrees of freedom; an even spread exceeds it once in seven thousand million.
CHI_SQUARE_MAX = 65.0


@pytest.mark.parametrize("failures", [1, 4, 50])
def test_case_22_backoff_spreads_its_jitter_evenly(failures: int) -> None:
    """Full jitter: each tenth of the range gets a tenth of the delays."""
    policy, random, count = RetryPolicy(), Random(), 10_000
    bound = min(30.0, 0.5 * 2.0 ** (failures - 1))
    tenths = Counter(
        int(10 * policy.backoff(failures, random.random()) / bound)
        for _ in range(count)
    )
    even = count / 10

    assert set(range(10)) == set(tenths)
    assert sum((n - even) ** 2 / even for n in tenths.values()) < CHI_SQUARE_MAX


def test_case_22_what_is_sent_keeps_the_bounds() -> None:
    """Between the tries of a read lies at most the back-off's bound, and jitter."""

    async def main() -> list[list[float]]:
        async with Simulator() as simulator:
            tries = list[list[float]]()
            for _ in range(40):
                task = simulator.add_task(answers=["500"])
                simulator.requests.clear()
                async with CambSession(
                    "simulator-key", base_url=simulator.base_url
                ) as c:
                    with pytest.raises(ServerError):
                        await c.get_task_status(task)
                tries.append(times(simulator))
        return tries

    gaps = [[b - a for a, b in itertools.pairwise(tried)] for tried in run(main())]

    assert {4} == {len(each) for each in gaps}
    for bound, nth in zip((0.5, 1.0, 2.0, 4.0), zip(*gaps, strict=True), strict=True):
        assert max(nth) <= bound + 0.001
        assert max(nth) - min(nth) > bound / 3


# 23: many at once.


def test_case_23_the_first_polls_of_many_are_spread_over_one_interval() -> None:
    """No herd: what exceeds the pollers comes at a random phase."""

    async def main() -> list[float]:
        source = FakeStatusSource(limits=Limits(max_in_flight=10), latency=0.001)
        async with TaskWatcher(
            source, [f"t{n}" for n in range(1000)], schedule=FixedInterval(10.0)
        ):
            await asyncio.sleep(11.1)
        return sorted(at for at, _ in source.asked)[:1000]

    first = run(main())
    per_second = Counter(int(at) for at in first)

    assert set(range(11)) >= set(per_second)
    assert max(per_second.values()) < 200


def test_case_23_ten_thousand_added_at_once_keep_the_budget() -> None:
    """Whatever the schedule wants, no second sees more than the limits allow."""

    async def main() -> list[float]:
        async with served(**DEFAULTS) as (simulator, camb):
            tasks = endless(simulator, 10_000)
            async with TaskWatcher(camb, tasks):
                await asyncio.sleep(40)
            return times(simulator)

    sent = run(main())

    assert most_in_a_second(sent) <= BUDGET
    assert 40 * RATE == pytest.approx(len(sent), rel=0.05)


@pytest.mark.parametrize("asleep", [60.0, 3600.0])
def test_case_23_a_machine_that_wakes_keeps_the_budget(asleep: float) -> None:
    """All are overdue then, and leave at the rate."""

    async def main() -> tuple[list[float], float]:
        async with served(**DEFAULTS) as (simulator, camb):
            tasks = endless(simulator, 400)
            async with TaskWatcher(camb, tasks, schedule=FixedInterval(10.0)):
                await asyncio.sleep(25)
                virtual_loop().sleep_through(asleep)
                woken_at = virtual_loop().time()
                await asyncio.sleep(20)
            return times(simulator), woken_at

    sent, woken_at = run(main())
    overdue = [at for at in sent if woken_at <= at <= woken_at + 8.5]

    assert most_in_a_second(sent) <= BUDGET
    assert len(overdue) >= 400


def test_case_23_what_woke_together_drifts_apart() -> None:
    """The jitter of a schedule spreads again what a long sleep has brought in step."""

    async def main() -> list[float]:
        source = FakeStatusSource()
        names = [f"t{n}" for n in range(1000)]
        async with TaskWatcher(source, names, schedule=FixedInterval(10.0)):
            await asyncio.sleep(25)
            virtual_loop().sleep_through(3600)
            await asyncio.sleep(400)
        return [at for at, _ in source.asked]

    polls = run(main())
    woken = [at for at in polls if 3625 <= at < 3626]
    later = [at for at in polls if 3625 + 300 <= at]

    assert 1000 == len(woken)
    assert most_in_a_second(later) < 200


# 24: the wall clock jumps.


class WallClock(datetime):
    """A wall clock that somebody sets, by ``ahead``."""

    ahead = timedelta()

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Self:
        """Return what the clock says."""
        return super().now(tz) + cls.ahead


@pytest.mark.parametrize("days", [-1, 1])
def test_case_24_a_jump_of_the_wall_clock_moves_no_poll(
    days: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Polls, deadlines and what transitions tell of times are the loop's."""
    # Nothing but this name in this module reads the wall clock while watching.
    monkeypatch.setattr("camb_async._engine.datetime", WallClock)

    async def main(ahead: timedelta) -> tuple[list[float], Transition]:
        monkeypatch.setattr(WallClock, "ahead", timedelta())
        async with served(**DEFAULTS) as (simulator, camb):
            task = simulator.add_task(status="PENDING")
            schedule = FixedInterval(5.0, random=Random(7))
            ref = TaskRef(task, created_at=datetime.now(UTC))
            async with camb.watch([ref], schedule=schedule, deadline=90) as watcher:
                await asyncio.sleep(31)
                monkeypatch.setattr(WallClock, "ahead", ahead)
                _, last = await read_all(watcher)
            return times(simulator), last

    calm, calm_last = run(main(timedelta()))
    jumpy, jumpy_last = run(main(timedelta(days=days)))

    assert calm == pytest.approx(jumpy, abs=0.05)
    assert calm_last.elapsed == pytest.approx(jumpy_last.elapsed, abs=0.05)
    assert calm_last.uncertainty == pytest.approx(jumpy_last.uncertainty, abs=0.05)
    assert abs(jumpy_last.at - calm_last.at) > timedelta(hours=23)


@pytest.mark.parametrize("days", [-1, 1])
def test_case_24_a_task_from_another_day_is_polled_in_time(days: int) -> None:
    """The clock was set since the task was made: its age is wrong, and no more."""

    async def main() -> list[float]:
        async with served(**DEFAULTS) as (simulator, camb):
            made = datetime.now(UTC) + timedelta(days=days)
            ref = TaskRef(simulator.add_task(status="PENDING"), created_at=made)
            async with camb.watch([ref]):
                await asyncio.sleep(60)
            return times(simulator)

    sent = run(main())
    gaps = [after - before for before, after in itertools.pairwise(sent)]

    assert sent[0] <= 0.7
    assert max(gaps) <= 1.2 * 15.0 + 0.05
    assert min(gaps) >= 0.8 * 0.5 - 0.05


# 25: the caller's deadline.


def test_case_25_the_deadline_ends_the_watch_after_one_last_poll() -> None:
    """DeadlineExceededError keeps task, last state and elapsed time."""
    source = FakeStatusSource()
    first, last = watch(source, "a", deadline=10.5)

    assert isinstance(last.error, DeadlineExceededError)
    assert TaskRef("a") == last.error.task
    assert state("PENDING") == last.error.state
    assert pytest.approx(10.5, abs=0.05) == last.error.elapsed
    assert not first.is_final
    assert pytest.approx(10.5, abs=0.05) == source.polls("a")[-1]
    assert "wait for the same id" in str(last.error)


def test_case_25_success_at_the_last_poll_counts() -> None:
    """A task that finished just before the deadline is not reported as late."""
    source = FakeStatusSource()
    source.on_poll = lambda _task: (
        source.script("a", "SUCCESS")
        if asyncio.get_running_loop().time() >= 10.5
        else None
    )
    last = watch(source, "a", deadline=10.5, schedule=FixedInterval(7.0))[-1]

    assert last.succeeded


def test_case_25_a_deadline_during_an_outage_names_the_outage() -> None:
    """The last poll's error is the cause and stands in a note."""
    source = FakeStatusSource({"a": [refused("cable cut")]})
    (last,) = watch(source, "a", deadline=20.0)

    assert isinstance(last.error, DeadlineExceededError)
    assert "cable cut" in str(last.error.__cause__)
    assert "cable cut" in last.error.__notes__[0]


def test_case_25_a_process_that_was_held_up_makes_its_last_poll() -> None:
    """Waking up after the deadline, it looks once more before it gives up."""

    async def main() -> list[Transition]:
        source = FakeStatusSource({"a": ["PENDING", "SUCCESS"]})
        async with TaskWatcher(
            source, ["a"], deadline=60, schedule=FixedInterval(50)
        ) as watcher:
            await asyncio.sleep(1)
            virtual_loop().sleep_through(70)
            return await read_all(watcher)

    assert ["PENDING", "SUCCESS"] == texts(run(main()))


async def _by_wait(camb: CambSession, task: str) -> Exception | None:
    try:
        await camb.wait(task, deadline=7.0)
    except (DeadlineExceededError, TaskTimeoutError) as error:
        return error
    return None


async def _by_iteration(camb: CambSession, task: str) -> Exception | None:
    async with camb.watch([task], deadline=7.0) as watcher:
        return (await read_all(watcher))[-1].error


@pytest.mark.parametrize("ask", [_by_wait, _by_iteration])
def test_case_25_our_deadline_is_not_the_service_s(
    ask: Callable[[CambSession, str], Awaitable[Exception | None]],
) -> None:
    """Late for us, timed out there, and silent: three errors, each says what to do."""

    async def main() -> tuple[Exception | None, Exception | None, Exception | None]:
        async with served(request_timeout=3.0) as (simulator, camb):
            (late,) = endless(simulator, 1)
            gone = simulator.add_task(status="TIMEOUT")
            hung = simulator.add_task(answers=["PENDING", *["hang"] * 9])
            return await ask(camb, late), await ask(camb, gone), await ask(camb, hung)

    late, gone, hung = run(main())

    assert isinstance(late, DeadlineExceededError)
    assert late.state is not None
    assert "PENDING" == late.state.raw_status
    assert 7.0 == pytest.approx(late.elapsed, abs=0.1)
    assert late.task.task_id in str(late)
    assert "wait for the same id" in str(late)
    assert isinstance(gone, TaskTimeoutError)
    assert "create it again" in str(gone)
    assert isinstance(hung, DeadlineExceededError)
    assert isinstance(hung.__cause__, APITimeoutError)
