"""How long tasks take: a broken line, and what polls teach about it."""

from __future__ import annotations

import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from camb_async._durations import Durations, Observation
from camb_async._estimate import CELLS, ROUNDS, estimate

from .learning import finish, seen_by


#: A quarter is over at 10 s, three quarters at 20 s, and a tenth takes over 100 s.
LINE = Durations.through([0.0, 10.0, 20.0, 100.0], [0.0, 0.25, 0.75, 0.9])


@st.composite
def lines(draw: st.DrawFn) -> Durations:
    """Draw a distribution of durations."""
    steps = draw(st.lists(st.floats(0.01, 1e4), min_size=1, max_size=12))
    parts = draw(
        st.lists(st.floats(0.0, 1.0), min_size=len(steps) + 1, max_size=len(steps) + 1)
    )
    total = sum(parts) + 1e-9
    ages, shares = [0.0], [0.0]
    for step, part in zip(steps, parts, strict=False):
        ages.append(ages[-1] + step)
        shares.append(min(shares[-1] + part / total, 1.0))
    return Durations.through(ages, shares)


@pytest.mark.parametrize(
    ("age", "share", "area"),
    [
        (0.0, 0.0, 0.0),
        (4.0, 0.1, 0.2),
        (10.0, 0.25, 1.25),
        (15.0, 0.5, 3.125),
        (20.0, 0.75, 6.25),
        (100.0, 0.9, 72.25),
        (110.0, 0.9, 81.25),
    ],
)
def test_a_share_and_the_area_under_it(age: float, share: float, area: float) -> None:
    """Between points the share grows evenly, and beyond the last not at all."""
    assert [pytest.approx(share), pytest.approx(area)] == list(LINE.at(age))


@pytest.mark.parametrize(
    ("share", "age"),
    [(0.0, 0.0), (0.1, 4.0), (0.25, 10.0), (0.5, 15.0), (0.9, 100.0), (0.95, 100.0)],
)
def test_the_age_by_which_a_share_is_over(share: float, age: float) -> None:
    """It is the inverse of the share, and the last age for what takes longer."""
    assert pytest.approx(age) == LINE.age_by(share)


@given(line=lines(), share=st.floats(0.0, 1.0))
def test_ages_and_shares_are_inverse(line: Durations, share: float) -> None:
    """The share over by the age of a share is that share, as far as it goes."""
    reached, _ = line.at(line.age_by(share))

    assert min(share, line.shares[-1]) == pytest.approx(reached, abs=1e-6)


@given(line=lines(), ages=st.tuples(st.floats(0, 1e5), st.floats(0, 1e5)))
def test_shares_and_areas_grow(line: Durations, ages: tuple[float, float]) -> None:
    """An older task is no less likely to be over; the area grows by the share."""
    early, late = sorted(ages)
    (share, area), (later, area_later) = line.at(early), line.at(late)

    assert 0.0 <= share <= later <= 1.0
    assert (late - early) * share <= (area_later - area) * (1 + 1e-9) + 1e-6


def test_what_remains_of_a_task_met_at_random() -> None:
    """Of tasks that all take 10 s, one met at random still takes 0 to 10 s, evenly."""
    remaining = Durations.through([0.0, 9.999, 10.0], [0.0, 0.0, 1.0]).remaining()

    assert pytest.approx(0.5, abs=1e-3) == remaining.at(5.0)[0]
    assert pytest.approx(1.0) == remaining.at(10.0)[0]


@given(line=lines())
def test_what_remains_is_a_distribution(line: Durations) -> None:
    """It grows from none to all of them."""
    shares = line.remaining().shares

    assert [0.0, pytest.approx(1.0)] == [shares[0], shares[-1]]
    assert sorted(shares) == shares


@pytest.mark.parametrize("sigma", [0.1, 0.4, 1.0])
def test_polls_at_random_teach_the_distribution(sigma: float) -> None:
    """From between which polls tasks ended, a few percent of error remain."""
    random = Random(1)
    durations = [random.lognormvariate(4.0, sigma) for _ in range(300)]
    polls = [sorted(random.uniform(0, 300) for _ in range(30)) for _ in durations]
    seen = [seen_by(ages, taken) for ages, taken in zip(polls, durations, strict=True)]
    learnt = finish(estimate(seen, 30.0))
    shares = [learnt.at(age)[0] for age in sorted(durations)]
    errors = [abs(share - (rank + 0.5) / 300) for rank, share in enumerate(shares)]

    assert max(errors) < 0.07


def test_tasks_still_pending_count_as_such() -> None:
    """Half of the tasks ended by 10 s; the others were pending at 50 s."""
    seen = [Observation(9.0, 10.0)] * 20 + [Observation(50.0, math.inf)] * 20
    learnt = finish(estimate(seen, 30.0))

    assert pytest.approx(0.5, abs=0.03) == learnt.at(30.0)[0]
    assert learnt.at(51.0)[0] < 0.6


def test_who_comes_late_knows_that_others_are_gone() -> None:
    """Tasks met at 30 s stand for those that had ended by then and were not met."""
    random = Random(1)
    durations = [random.uniform(10.0, 50.0) for _ in range(1000)]
    fair = [Observation(taken - 1.0, taken + 1.0) for taken in durations[:100]]
    late = [
        Observation(taken - 0.5, taken + 0.5, 30.0) for taken in durations if taken > 31
    ]
    learnt = finish(estimate([*fair, *late], 30.0))
    unaware = finish(
        estimate([*fair, *(seen._replace(entry=0.0) for seen in late)], 30.0)
    )

    assert pytest.approx(0.5, abs=0.1) == learnt.at(30.0)[0]
    assert unaware.at(30.0)[0] < 0.2


def test_who_finds_tasks_ended_misses_none() -> None:
    """When those over before they were met are counted too, none is added."""
    seen = [Observation(0.0, 30.0, 30.0)] * 50 + [Observation(39.0, 41.0, 30.0)] * 50
    learnt = finish(estimate(seen, 30.0))

    assert pytest.approx(0.5, abs=0.05) == learnt.at(33.0)[0]


@pytest.mark.parametrize("hint", [1.0, 30.0, 900.0])
def test_a_hint_is_soon_outweighed(hint: float) -> None:
    """Twenty tasks of 60 s outweigh any guess."""
    learnt = finish(estimate([Observation(59.0, 61.0)] * 20, hint))

    assert pytest.approx(60.0, rel=0.05) == learnt.age_by(0.5)


ages = st.floats(0.0, 1e8) | st.sampled_from([0.0, 1e-3, 1.0, 1e8])


@given(
    seen=st.lists(
        st.tuples(ages, st.one_of(ages, st.just(math.inf)), ages), max_size=40
    ),
    ended=st.floats(1e-3, 1e8),
    hint=st.floats(1e-3, 1e6),
)
def test_whatever_was_seen_makes_a_distribution(
    seen: list[tuple[float, float, float]], ended: float, hint: float
) -> None:
    """Ages grow from zero, shares from none to almost all."""
    observations = [
        Observation(min(lower, upper), max(lower, upper, 1e-3), entry)
        for lower, upper, entry in seen
    ]
    learnt = finish(estimate([*observations, Observation(0.0, ended)], hint))

    assert sorted(set(learnt.ages)) == learnt.ages
    assert sorted(learnt.shares) == learnt.shares
    assert [0.0, 0.0] == [learnt.ages[0], learnt.shares[0]]
    assert 0.6 < learnt.shares[-1] <= 1.0 or math.inf in {o.upper for o in observations}


@pytest.mark.parametrize(("tasks", "steps"), [(9, 2), (656, 8)])
def test_an_estimate_is_made_in_small_steps(tasks: int, steps: int) -> None:
    """There are a few for the grid and one a round, each over all of the cells once."""
    seen = [Observation(5.0, 6.0)] * tasks

    assert steps + ROUNDS == sum(1 for _ in estimate(seen, 30.0))
    assert CELLS + 15 == len(finish(estimate(seen, 30.0)).ages)
