"""When the next poll pays, and what price of a poll meets a target."""

from __future__ import annotations

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from camb_async._breakeven import Bounds, due, outlay, price_for, waiting
from camb_async._durations import Durations

from .learning import finish
from .test_durations import LINE, lines


FREE = Bounds(0.001, 1e6)


def exponential(mean: float) -> Durations:
    """Return tasks without a memory."""
    ages = [mean * step / 50.0 for step in range(1000)]
    return Durations.through(ages, [1.0 - math.exp(-age / mean) for age in ages])


@given(line=lines(), start=st.floats(0.0, 1.0), price=st.floats(1e-3, 1e5))
def test_a_poll_is_due_when_waiting_outweighs_its_price(
    line: Durations, start: float, price: float
) -> None:
    """At the age that is due, both sides of the rule are equal."""
    age = start * line.ages[-1]
    assume(line.at(age)[0] < 0.999)
    then = due(line, age, price)
    assume(then < math.inf)
    (share, area), (over, area_then) = line.at(age), line.at(then)
    waited = area_then - area - share * (then - age)

    assert age <= then <= line.ages[-1] * (1 + 1e-9)
    assert price * (1.0 - over) == pytest.approx(
        waited, rel=1e-4, abs=1e-6 * (price + line.ages[-1])
    )


def test_no_poll_is_due_in_a_gap() -> None:
    """Nothing ends between 20 s and 100 s, so nothing is asked there."""
    gap = Durations.through([0.0, 10, 20, 100, 110], [0.0, 0.0, 0.5, 0.5, 1.0])

    assert 10.0 < due(gap, 0.0, 1.0) < 20.0
    assert 100.0 < due(gap, 20.0, 1.0) < 110.0


def test_where_nothing_is_known_nothing_is_due() -> None:
    """That is beyond the last age, and when the price is never outweighed."""
    assert math.inf == due(LINE, 100.0, 1.0)
    assert math.inf == due(LINE, 50.0, 1e6)


def test_tasks_without_a_memory_are_polled_evenly() -> None:
    """The delay is the same at every age, and longer when polls are dear."""
    tasks = exponential(60.0)
    delays = [due(tasks, age, 2.0) - age for age in (0.0, 30.0, 90.0, 200.0)]

    assert [pytest.approx(delays[0], rel=0.02)] * 4 == delays
    assert due(tasks, 0.0, 8.0) > 1.5 * delays[0]


@pytest.mark.parametrize(
    ("asked", "age", "waited", "over"),
    [
        (0.0, 0.0, 0.0, 0.0),
        (0.0, 10.0, 1.25, 0.25),
        (10.0, 20.0, 2.5, 0.5),
    ],
)
def test_unnoticed_waiting(
    asked: float, age: float, waited: float, over: float
) -> None:
    """It is the area above the share that was over when last asked."""
    found = waiting(LINE, asked, age)

    assert [pytest.approx(waited), pytest.approx(over)] == list(found)


def test_what_even_polls_cost() -> None:
    """Bounds that leave one delay make a fixed interval, whatever the price."""
    polls, late = finish(outlay(exponential(60.0), 1.0, Bounds(12.0, 12.0)))

    assert pytest.approx(1.0 / (1.0 - math.exp(-0.2)), rel=0.01) == polls
    assert pytest.approx(12.0 * polls - 60.0, rel=0.02) == late


def test_cost_is_told_in_slices_and_has_an_end() -> None:
    """A thousand polls of a task that never ends are enough, fifty at a time."""
    never = Durations.through([0.0, 1e9], [0.0, 1e-6])
    steps = sum(1 for _ in outlay(never, 1.0, Bounds(1.0, 1.0)))

    assert 20 == steps
    assert pytest.approx(1000.0, rel=0.01) == (
        finish(outlay(never, 1.0, Bounds(1.0, 1.0))).polls
    )


@pytest.mark.parametrize("polls", [1.5, 3.0, 6.0, 20.0])
def test_a_price_for_so_many_polls(polls: float) -> None:
    """The rule at this price takes the polls that were asked for."""
    price, cost = finish(price_for(exponential(60.0), FREE, polls=polls, latency=None))

    assert pytest.approx(polls, rel=0.02) == cost.polls
    assert cost == finish(outlay(exponential(60.0), price, FREE))


@pytest.mark.parametrize("latency", [0.2, 2.0, 20.0])
def test_a_price_for_so_much_lateness(latency: float) -> None:
    """The rule at this price is as late as was asked for."""
    _, cost = finish(price_for(exponential(60.0), FREE, polls=None, latency=latency))

    assert pytest.approx(latency, rel=0.02) == cost.lateness


@pytest.mark.parametrize(
    ("polls", "bounds", "reached"),
    [(100.0, Bounds(10.0, 60.0), 6.5), (1.0, Bounds(0.5, 20.0), 3.5)],
)
def test_bounds_come_before_targets(
    polls: float, bounds: Bounds, reached: float
) -> None:
    """When the bounds allow no such price, the nearest is taken."""
    _, cost = finish(price_for(exponential(60.0), bounds, polls=polls, latency=None))

    assert pytest.approx(reached, abs=0.1) == cost.polls
