"""When to poll next: bounds, jitter, and schedules that misbehave."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from random import Random
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from camb_async._guard import DELAY_INSTEAD, DELAY_MAX, GuardedSchedule
from camb_async.models import TaskRef
from camb_async.schedules import (
    FixedInterval,
    PollSchedule,
    ShareOfAge,
)


TASK = TaskRef("abc")

ages = st.floats(0.0, 1e300) | st.sampled_from([0.0, 5e-324, 1e9, math.inf])
seeds = st.integers(0, 2**32)


def seeded(seed: int) -> Random:
    """Return a random source that is the same every time."""
    return Random(seed)


@attrs.define
class Scripted:
    """A schedule that does as the test says."""

    answer: Callable[[], Any]
    learnt: list[tuple[TaskRef, float, float, float]] = attrs.field(
        factory=list[tuple[TaskRef, float, float, float]]
    )

    def next_delay(self, task: TaskRef, age: float, *, age_known: bool = True) -> float:
        """Return the scripted answer, or raise."""
        delay: float = self.answer()
        return delay

    def learn(
        self, task: TaskRef, lower: float, upper: float, *, entry: float = 0.0
    ) -> None:
        """Take note, or raise what the script raises."""
        self.answer()
        self.learnt.append((task, lower, upper, entry))


def broken() -> float:
    """Fail, as a user's code may."""
    message = "no idea"
    raise LookupError(message)


@given(seconds=st.floats(0.001, 1e6), age=ages, age_known=st.booleans(), seed=seeds)
def test_a_fixed_interval_varies_by_a_tenth(
    *, seconds: float, age: float, age_known: bool, seed: int
) -> None:
    """Whatever the age, the delay is the interval, 10 percent either way."""
    schedule = FixedInterval(seconds, random=seeded(seed))
    delay = schedule.next_delay(TASK, age, age_known=age_known)

    assert 0.9 * seconds * (1 - 1e-12) <= delay <= 1.1 * seconds * (1 + 1e-12)


@given(
    share=st.floats(1e-6, 1e3),
    floor=st.floats(0.001, 1e4),
    width=st.floats(1.0, 1e4),
    age=ages,
    age_known=st.booleans(),
    seed=seeds,
)
def test_a_share_of_age_stays_near_its_bounds(
    *, share: float, floor: float, width: float, age: float, age_known: bool, seed: int
) -> None:
    """No age, not even none or a huge one, leaves the bounds by over 20 percent."""
    cap = floor * width
    schedule = ShareOfAge(share=share, floor=floor, cap=cap, random=seeded(seed))
    delay = schedule.next_delay(TASK, age, age_known=age_known)

    assert 0.8 * floor * (1 - 1e-12) <= delay <= 1.2 * cap * (1 + 1e-12)


@pytest.mark.parametrize(
    ("age", "centre"),
    [(0.0, 0.5), (2.0, 0.5), (10.0, 1.5), (60.0, 9.0), (100.0, 15.0), (1e9, 15.0)],
)
def test_a_share_of_age_grows_with_the_age(age: float, centre: float) -> None:
    """In between, the delay is the share of the age, spread evenly around it."""
    schedule = ShareOfAge(random=seeded(3))
    delays = [schedule.next_delay(TASK, age) for _ in range(2000)]

    assert centre == pytest.approx(sum(delays) / len(delays), rel=0.02)
    assert 0.8 * centre == pytest.approx(min(delays), rel=0.01)
    assert 1.2 * centre == pytest.approx(max(delays), rel=0.01)


def test_a_fixed_interval_spreads_evenly() -> None:
    """The jitter fills its range and has no bias."""
    schedule = FixedInterval(10.0, random=seeded(3))
    delays = [schedule.next_delay(TASK, 0.0) for _ in range(2000)]

    assert pytest.approx(sum(delays) / len(delays), rel=0.01) == 10.0
    assert pytest.approx(min(delays), rel=0.01) == 9.0
    assert pytest.approx(max(delays), rel=0.01) == 11.0


@pytest.mark.parametrize("make", [FixedInterval, ShareOfAge])
def test_a_seed_makes_a_schedule_repeatable(
    make: Callable[..., PollSchedule],
) -> None:
    """The same random source gives the same delays; two schedules share none."""
    first, again, other = make(random=seeded(7)), make(random=seeded(7)), make()
    delays = [first.next_delay(TASK, 20.0) for _ in range(5)]

    assert delays == [again.next_delay(TASK, 20.0) for _ in range(5)]
    assert delays != [other.next_delay(TASK, 20.0) for _ in range(5)]


@pytest.mark.parametrize("make", [FixedInterval, ShareOfAge])
def test_what_is_fixed_learns_nothing(make: Callable[..., PollSchedule]) -> None:
    """A fixed schedule takes lessons of any kind, and none changes it."""
    taught, untaught = make(random=seeded(7)), make(random=seeded(7))
    taught.learn(TASK, 0.0, 5.0)
    taught.learn(TASK, 10.0, math.inf, entry=3.0)

    assert untaught.next_delay(TASK, 9.0) == taught.next_delay(TASK, 9.0)


@pytest.mark.parametrize("value", [0, -1.0, math.nan, math.inf, "5"], ids=repr)
@pytest.mark.parametrize(
    ("make", "knob"),
    [
        (FixedInterval, "seconds"),
        (ShareOfAge, "share"),
        (ShareOfAge, "floor"),
        (ShareOfAge, "cap"),
    ],
)
def test_knobs_are_numbers_above_zero(
    make: Callable[..., Any], knob: str, value: Any
) -> None:
    """What would stop or flood the polling is refused, by name."""
    with pytest.raises(ValueError, match=f"{knob} must be a number above 0"):
        make(**{knob: value})


def test_the_floor_is_not_above_the_cap() -> None:
    """Bounds that leave nothing between them are refused, equal ones are not."""
    with pytest.raises(ValueError, match=r"floor \(20\) must not be above cap"):
        ShareOfAge(floor=20)

    assert ShareOfAge(floor=3.0, cap=3.0).cap == 3.0


def test_a_schedule_shows_its_settings() -> None:
    """A repr has the knobs and not the state of the random source."""
    assert "FixedInterval(seconds=5.0)" == repr(FixedInterval())
    assert "ShareOfAge(share=0.15, floor=0.5, cap=15.0)" == repr(ShareOfAge())
    assert FixedInterval(3.0) == FixedInterval(3.0)


@pytest.mark.parametrize(
    "schedule",
    [FixedInterval(), ShareOfAge(), GuardedSchedule(FixedInterval())],
    ids=["fixed", "share", "guarded"],
)
def test_schedules_keep_the_protocol(schedule: PollSchedule) -> None:
    """Each schedule is a PollSchedule, and a thing without a method is not."""
    assert isinstance(schedule, PollSchedule)
    assert not isinstance(object(), PollSchedule)


@pytest.mark.parametrize(
    ("said", "taken"),
    [
        (3.0, 3.0),
        (0, 0.0),
        (True, 1.0),
        (Fraction(5, 2), 2.5),
        (Decimal("2.5"), 2.5),
        (-1.0, 0.0),
        (-math.inf, 0.0),
        (math.inf, DELAY_MAX),
        (1e9, DELAY_MAX),
        (math.nan, DELAY_INSTEAD),
        (Decimal("NaN"), DELAY_INSTEAD),
    ],
    ids=repr,
)
def test_a_guarded_delay_can_be_waited_for(said: Any, taken: float) -> None:
    """Whatever number a schedule says, a float that a clock can use comes out."""
    delay = GuardedSchedule(Scripted(lambda: said)).next_delay(TASK, 1.0)

    assert taken == delay
    assert taken + 1.0 == delay + 1.0


@pytest.mark.parametrize(
    "answer",
    [broken, lambda: None, lambda: "soon", lambda: 10**400, lambda: 1j],
    ids=["raises", "none", "text", "beyond float", "complex"],
)
def test_a_guarded_fault_is_logged_and_replaced(
    answer: Callable[[], Any], caplog: pytest.LogCaptureFixture
) -> None:
    """A schedule that fails costs a warning, and the task is polled in 5 s."""
    guarded = GuardedSchedule(Scripted(answer))
    delay = guarded.next_delay(TASK, 1.0, age_known=False)

    assert delay == 5.0
    assert [("camb_async", logging.WARNING)] == [
        (record.name, record.levelno) for record in caplog.records
    ]
    assert "failed; polling abc in 5.0 s" in caplog.text


def test_a_guarded_lesson_is_passed_on() -> None:
    """What is learnt goes through the guard unchanged."""
    schedule = Scripted(lambda: 1.0)
    GuardedSchedule(schedule).learn(TASK, 1.0, math.inf, entry=0.5)

    assert [(TASK, 1.0, math.inf, 0.5)] == schedule.learnt


def test_a_guarded_lesson_that_fails_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A schedule that cannot learn costs a warning and nothing else."""
    GuardedSchedule(Scripted(broken)).learn(TASK, 1.0, 2.0)

    assert "could not learn from abc" in caplog.text
    assert "LookupError: no idea" in caplog.text


def test_a_guard_passes_on_what_it_was_asked() -> None:
    """Task, age and whether the age is known reach the schedule."""
    asked: list[tuple[TaskRef, float, bool]] = []

    class Asked(FixedInterval):
        """Takes note of what it was asked."""

        def next_delay(
            self, task: TaskRef, age: float, *, age_known: bool = True
        ) -> float:
            """Return one second."""
            asked.append((task, age, age_known))
            return 1.0

    GuardedSchedule(Asked()).next_delay(TASK, 7.0, age_known=False)

    assert [(TASK, 7.0, False)] == asked


class Ranking(FixedInterval):
    """A schedule that fails to say what a poll is worth."""

    def priority(
        self, task: TaskRef, asked: float, age: float, *, age_known: bool = True
    ) -> float:
        """Fail."""
        raise LookupError


def test_a_schedule_that_cannot_rank_is_taken_for_one_that_knows_nothing() -> None:
    """Its polls are ranked by age, like those of a schedule that does not rank."""
    guarded = GuardedSchedule(Ranking())

    assert GuardedSchedule(FixedInterval()).priority(TASK, 2.0, 8.0) == (
        guarded.priority(TASK, 2.0, 8.0)
    )
