"""The schedule that learns: what it promises before, while and after it learns."""

# What is remembered of a kind is looked at from inside.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import json
import math
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from camb_async import AdaptiveSchedule, Eta, PollSchedule, ShareOfAge
from camb_async._drift import Drift
from camb_async._durations import Durations
from camb_async._experience import COHORT, MEMORY, REMAINING, Experience
from camb_async.kinds import TaskKind
from camb_async.models import TaskRef

from .learning import teach, watch


TASK = TaskRef("abc")
DUB = TaskRef("abc", TaskKind.DUB)

ages = st.floats() | st.sampled_from([0.0, 5e-324, 1.0, 60.0, 1e9, math.inf, -1.0])


def known(schedule: AdaptiveSchedule) -> Experience:
    """Return what a schedule knows of the kind that the tests are about."""
    return schedule._known[TASK.kind]


def taught(tasks: int = 40, *, median: float = 60.0, **knobs: Any) -> AdaptiveSchedule:
    """Return a schedule that has watched some tasks, with its model up to date."""
    schedule = AdaptiveSchedule(seed=1, **knobs)
    teach(schedule, tasks, median=median)
    known(schedule).settle()
    return schedule


def together(
    schedule: AdaptiveSchedule, tasks: int, *, median: float = 60.0, seed: int = 1
) -> tuple[float, float]:
    """Watch tasks that begin at the same time; return polls and lateness of each."""
    random = Random(seed)
    ends = [median * random.lognormvariate(0.0, 0.3) for _ in range(tasks)]
    refs = [TaskRef(f"{seed}-{number}") for number in range(tasks)]
    due = {ref: schedule.next_delay(ref, 0.0) for ref in refs}
    asked = dict.fromkeys(refs, 0.0)
    polls, late = 0, 0.0
    while due:
        ref = min(due, key=due.__getitem__)
        polls, age, end = polls + 1, due.pop(ref), ends[refs.index(ref)]
        if age >= end:
            late += age - end
            schedule.learn(ref, asked[ref], age)
        else:
            asked[ref] = age
            due[ref] = age + schedule.next_delay(ref, age)
    return polls / tasks, late / tasks


# Knobs.


@pytest.mark.parametrize("value", [0, -1.0, math.nan, math.inf, "5"], ids=repr)
@pytest.mark.parametrize(
    "knob", ["polls", "latency", "min_interval", "max_interval", "hint"]
)
def test_knobs_are_numbers_above_zero(knob: str, value: Any) -> None:
    """What is no number that can be aimed at is refused, by name."""
    with pytest.raises(ValueError, match=f"{knob} must be a number above 0"):
        AdaptiveSchedule(**{knob: value})


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"polls": 6, "latency": 1.0}, "either polls or latency"),
        ({"polls": 0.5}, "polls must be at least 1"),
        ({"min_interval": 61.0}, "must not be above max_interval"),
        ({"min_interval": 3.0, "max_interval": 2.0}, "must not be above max_interval"),
    ],
    ids=str,
)
def test_knobs_that_contradict_are_refused(knobs: dict[str, Any], message: str) -> None:
    """The message says which they are."""
    with pytest.raises(ValueError, match=message):
        AdaptiveSchedule(**knobs)


def test_a_schedule_shows_its_knobs() -> None:
    """Polls are 6 unless lateness is aimed at."""
    assert (6.0, None) == (AdaptiveSchedule().polls, AdaptiveSchedule().latency)
    assert AdaptiveSchedule(latency=2.0).polls is None
    assert "AdaptiveSchedule(polls=3, latency=None" in repr(AdaptiveSchedule(polls=3))
    assert isinstance(AdaptiveSchedule(), PollSchedule)


# Nothing learnt yet.


@pytest.mark.parametrize("age_known", [True, False])
@pytest.mark.parametrize("age", [0.0, 2.0, 10.0, 60.0, 1e9])
def test_a_cold_schedule_is_a_share_of_age(*, age: float, age_known: bool) -> None:
    """Until three tasks have ended it has the delays of ShareOfAge."""
    cold, share = AdaptiveSchedule(seed=5), ShareOfAge(random=Random(5))
    for _ in range(2):
        cold.learn(TASK, 4.0, 5.0)
    cold.learn(TASK, 4.0, math.inf)

    assert share.next_delay(TASK, age) == cold.next_delay(
        TASK, age, age_known=age_known
    )


@pytest.mark.parametrize(("duration", "polls"), [(6.0, 12), (60.0, 28), (600.0, 65)])
def test_a_cold_schedule_costs_what_share_of_age_costs(
    duration: float, polls: int
) -> None:
    """Requests within a quarter of the known figures; late by 15 percent at most."""
    costs = [watch(AdaptiveSchedule(seed=seed), TASK, duration) for seed in range(40)]

    assert sum(map(len, costs)) / 40 < 1.25 * polls
    assert sum(ages[-1] for ages in costs) / 40 - duration < 0.15 * duration + 0.9


@pytest.mark.parametrize(("shortest", "longest"), [(2.0, 3.0), (0.1, 0.2), (20, 40)])
def test_a_cold_schedule_keeps_its_bounds(shortest: float, longest: float) -> None:
    """They hold before anything is learnt, too."""
    cold = AdaptiveSchedule(min_interval=shortest, max_interval=longest, seed=1)
    delays = [cold.next_delay(TASK, age) for age in (0.0, 5.0, 60.0, 3600.0)]

    assert 0.8 * shortest <= min(delays) <= max(delays) <= 1.2 * longest


def test_a_cold_schedule_keeps_a_long_shortest_interval() -> None:
    """Also one that is longer than what is usual while nothing is known."""
    cold = AdaptiveSchedule(min_interval=60.0, seed=1)

    assert 48.0 <= min(cold.next_delay(TASK, age) for age in (0.0, 60.0, 3600.0))


# Learning.


def test_it_learns_when_to_poll() -> None:
    """After a hundred tasks it takes the polls asked for, and half the lateness."""
    schedule = taught(100)
    polls = [len(watch(schedule, TaskRef(f"t{n}"), 60.0 + n % 9)) for n in range(90)]
    late = teach(schedule, 100, seed=2)

    # A fixed interval with six polls is as late as half of its 60 / 5.5 s.
    assert late < 0.75 * 60.0 / 5.5 / 2
    assert pytest.approx(6.0, rel=0.3) == sum(polls) / 90


@pytest.mark.parametrize("polls", [3.0, 6.0, 12.0])
def test_it_takes_the_polls_it_was_asked_for(polls: float) -> None:
    """On average over tasks like those it has learnt."""
    schedule, random = taught(300, polls=polls), Random(9)
    taken = [
        len(watch(schedule, TaskRef(f"{n}"), 60.0 * random.lognormvariate(0.0, 0.3)))
        for n in range(300)
    ]

    assert pytest.approx(polls, rel=0.15) == sum(taken) / 300


@pytest.mark.parametrize("latency", [0.5, 2.0])
def test_it_is_as_late_as_it_was_asked_for(latency: float) -> None:
    """On average over tasks like those it has learnt."""
    schedule = taught(300, latency=latency)

    assert pytest.approx(latency, rel=0.2) == teach(schedule, 300, seed=2)


def test_lateness_that_was_seen_corrects_the_price() -> None:
    """A bias makes polls dearer or cheaper."""
    schedule = taught(40, latency=2.0)
    fair = known(schedule).model
    known(schedule).bias, known(schedule)._fresh = 2.0, 1
    known(schedule).settle()
    corrected = known(schedule).model
    assert fair is not None
    assert corrected is not None

    assert fair.price > 1.5 * corrected.price


def test_each_kind_is_learnt_by_itself() -> None:
    """What is learnt of one kind says nothing of another."""
    schedule = taught()

    assert schedule.next_delay(TASK, 0.0) > 10.0
    assert schedule.next_delay(DUB, 0.0) < 1.0


def test_long_tasks_may_be_polled_rarely() -> None:
    """The longest delay grows with the median, unless it is given."""
    free, bound = taught(median=900.0), taught(median=900.0, max_interval=60.0)

    assert 200.0 < free.next_delay(TASK, 0.0)
    assert 50.0 < bound.next_delay(TASK, 0.0) < 72.0


def test_a_task_that_outlasts_all_is_polled_rarely() -> None:
    """Beyond everything known the delay is the longest there is."""
    assert pytest.approx(66.0, rel=0.15) == taught().next_delay(TASK, 1e7)


def test_an_unknown_age_makes_polls_come_sooner() -> None:
    """A task that was met at some time may end at any moment."""
    schedule = taught()
    first = [schedule.next_delay(TASK, 0.0) for _ in range(9)]
    met = [schedule.next_delay(TASK, 0.0, age_known=False) for _ in range(9)]

    assert max(met) < min(first) / 2


def test_a_seed_makes_delays_repeatable() -> None:
    """The same seed and the same tasks give the same delays; others do not."""
    delays = [taught().next_delay(TASK, 50.0) for _ in range(2)]
    other = AdaptiveSchedule(seed=2)
    teach(other, 40)

    assert delays[0] == delays[1] != other.next_delay(TASK, 50.0)


def test_a_rebuild_is_made_in_slices() -> None:
    """The old model goes on serving, call by call, until the new one is there."""
    schedule = taught(40)
    before, calls = known(schedule).model, 0
    for _ in range(6):
        schedule.learn(TASK, 5.0, 6.0)
    while known(schedule).model is before:
        schedule.next_delay(DUB, 1.0)
        schedule.next_delay(TASK, 1.0)
        calls += 1

    assert 20 < calls < 200


# Many at once.


def test_tasks_that_begin_together_are_learnt_as_well() -> None:
    """Those that end first are quick ones, and not all tasks are like them."""
    schedule = AdaptiveSchedule(seed=1)
    costs = [together(schedule, 2 * COHORT, seed=seed) for seed in range(3)]
    model = known(schedule).model
    assert model is not None

    assert [pytest.approx(60.0, rel=0.1), pytest.approx(90.0, rel=0.15)] == [
        model.durations.age_by(share) for share in (0.5, 0.91)
    ]
    assert pytest.approx(6.0, rel=0.2) == costs[-1][0]
    assert costs[-1][1] < 4.0


def test_tasks_under_way_count_as_pending() -> None:
    """Ten of sixty tasks ended; that most of them are quick is not concluded."""
    schedule = AdaptiveSchedule(seed=1)
    for number in range(50):
        task, age = TaskRef(f"pending-{number}"), 0.0
        while age < 50.0:
            age += schedule.next_delay(task, age)
        schedule.next_delay(task, age)
    for number in range(10):
        schedule.learn(TaskRef(f"ended-{number}"), 9.0, 10.0)
    known(schedule).settle()
    eta = schedule.eta(TASK, 40.0)
    assert eta is not None

    assert pytest.approx(1 / 6, abs=0.03) == eta.done_by_now


def test_what_is_remembered_is_a_sample_of_all() -> None:
    """The oldest are not the first to go: they may be the quick ones of many."""
    schedule = AdaptiveSchedule(seed=1)
    for number in range(2 * MEMORY):
        schedule.learn(TaskRef(f"t{number}"), number, number + 1)
    early = [seen for seen in known(schedule).seen if seen.upper <= MEMORY]

    assert pytest.approx(MEMORY / math.e, rel=0.2) == len(early)


def test_the_tasks_followed_and_remembered_are_bounded() -> None:
    """Tasks of which nobody hears again make room for others after a while."""
    schedule = taught(MEMORY + 50)
    for number in range(5 * COHORT):
        schedule.next_delay(TaskRef(f"lost-{number}"), 0.0)
        schedule.next_delay(TaskRef(f"lost-{number}"), 9.0)

    assert MEMORY == len(known(schedule).seen)
    assert COHORT == len(known(schedule)._cohort)
    assert math.inf in {seen.upper for seen in known(schedule).seen}


def test_a_task_that_found_no_room_teaches_nothing() -> None:
    """Only those followed from their beginning are a fair sample."""
    schedule = AdaptiveSchedule(seed=1)
    for number in range(COHORT + 1):
        schedule.next_delay(TaskRef(f"t{number}"), 0.0)
    schedule.learn(TaskRef(f"t{COHORT}"), 4.0, 5.0)
    schedule.learn(TaskRef("t5"), 4.0, 6.0)

    assert [(4.0, 6.0, 0.0)] == known(schedule).seen


# Changes.


@pytest.mark.parametrize(("before", "after"), [(60.0, 15.0), (15.0, 60.0), (60, 600)])
def test_a_change_is_followed(before: float, after: float) -> None:
    """Within fifty tasks, hundreds that were otherwise are forgotten."""
    schedule = taught(300, median=before)
    teach(schedule, 50, median=after, seed=2)
    known(schedule).settle()
    model = known(schedule).model
    assert model is not None

    assert len(known(schedule).seen) < 60
    assert pytest.approx(after, rel=0.35) == model.durations.age_by(0.5)


@pytest.mark.parametrize("at_once", [1, 100])
def test_chance_is_not_taken_for_a_change(at_once: int) -> None:
    """Nothing is forgotten of tasks that go on as before."""
    schedule = AdaptiveSchedule(seed=3)
    for seed in range(300 // at_once):
        together(schedule, at_once, seed=seed)

    assert 300 == len(known(schedule).seen)


def test_a_change_leaves_the_last_tasks() -> None:
    """What is rebuilt knows those, and is not doubted again before it is there."""
    schedule = taught(100)
    known(schedule)._forget()
    assert REMAINING == len(known(schedule).seen)

    for _ in range(8):
        known(schedule)._reckon(0.0, 30.0, ended=True)
    assert not known(schedule)._drift.is_certain()


def test_drift_counts_no_end_where_all_have_ended() -> None:
    """A task that outlasts all that is known tells nothing of the rest."""
    drift = Drift()
    sure = Durations.through([0.0, 1.0, 2.0], [0.0, 1.0, 1.0])
    for _ in range(50):
        drift.reckon(sure, 1.0, 2.0, ended=False)
    assert not drift.is_certain()

    for _ in range(50):
        drift.reckon(sure, 0.0, 1.0, ended=False)
    assert drift.is_certain()


@pytest.mark.parametrize(("ended", "certain"), [(50, False), (68, False), (99, True)])
def test_what_was_learnt_may_be_somewhat_wrong(*, ended: int, certain: bool) -> None:
    """Half was expected; a third more may be an error of the estimate."""
    drift, half = Drift(), Durations.through([0.0, 1.0, 2.0], [0.0, 0.5, 1.0])
    for number in range(600):
        drift.reckon(half, 0.0, 1.0, ended=number * 37 % 100 < ended)

    assert certain == drift.is_certain()


# Tasks that come late, or are given up.


def test_a_task_that_comes_late_says_nothing_of_its_youth() -> None:
    """Its first poll is at once, and what was before it does not count."""
    schedule = taught(100)
    for number in range(20):
        task = TaskRef(f"late-{number}")
        schedule.next_delay(task, 0.0)
        schedule.next_delay(task, 300.0)

        assert 300.0 == known(schedule)._cohort[task].entry

        schedule.next_delay(task, 9000.0)
        assert 300.0 == known(schedule)._cohort[task].entry

    assert not known(schedule)._drift.is_certain()


def test_polls_held_back_are_no_surprise() -> None:
    """When all first polls are late, neither ends nor their absence alarm."""
    schedule, random = taught(100), Random(4)
    for number in range(60):
        task, duration = TaskRef(f"held-{number}"), random.lognormvariate(4.1, 0.3)
        schedule.next_delay(task, 0.0)
        if duration <= 100.0:
            schedule.learn(task, 0.0, 100.0)
        else:
            schedule.next_delay(task, 100.0)

    assert not known(schedule)._drift.is_certain()
    assert 100 < len(known(schedule).seen)


def test_a_task_found_ended_is_no_surprise() -> None:
    """Tasks met after they had ended do not make the service quick."""
    schedule = taught(100)
    for number in range(30):
        schedule.learn(TaskRef(f"old-{number}"), 0.0, 40.0, entry=39.0)

    assert 130 == len(known(schedule).seen)


def test_tasks_given_up_teach_that_some_take_long() -> None:
    """As many were given up at 100 s as had ended before."""
    schedule = taught(40)
    before = schedule.eta(TASK, 100.0)
    for number in range(40):
        schedule.learn(TaskRef(f"given-up-{number}"), 100.0, math.inf)
    known(schedule).settle()
    after = schedule.eta(TASK, 100.0)
    assert before is not None
    assert after is not None

    assert 0.9 < before.done_by_now
    assert 0.6 > after.done_by_now


@pytest.mark.parametrize(
    ("lower", "upper"),
    [(5.0, 4.0), (math.nan, 4.0), (1.0, math.nan), (-1.0, 4.0), (0.0, math.inf)],
)
def test_nothing_is_learnt_from_what_cannot_be(lower: float, upper: float) -> None:
    """Impossible ages are passed over, and so is a task of which nothing was seen."""
    schedule = AdaptiveSchedule(seed=1)
    schedule.learn(TASK, lower, upper)

    assert [] == known(schedule).seen


def test_an_end_seen_at_once_is_an_end() -> None:
    """A task pending and over at the same age is learnt like any other."""
    schedule = taught(40)
    schedule.learn(TASK, 50.0, 50.0)

    assert (50.0, 50.0, 0.0) == known(schedule).seen[-1]


calls = st.one_of(
    st.tuples(st.just("delay"), st.integers(0, 3), ages, ages, st.booleans()),
    st.tuples(st.just("learn"), st.integers(0, 3), ages, ages, ages),
    st.tuples(st.just("ended"), st.integers(0, 9), st.floats(0.01, 1e4), ages, ages),
)


@settings(deadline=None, max_examples=60)
@given(
    sequence=st.lists(calls, min_size=5, max_size=60),
    polls=st.floats(1.0, 1e3),
    longest=st.one_of(st.none(), st.floats(0.5, 1e3)),
)
def test_whatever_happens_delays_keep_their_bounds(
    sequence: list[tuple[Any, ...]], polls: float, longest: float | None
) -> None:
    """No age, lesson or order of calls raises, or leads out of the bounds."""
    schedule = AdaptiveSchedule(polls=polls, max_interval=longest, seed=1)
    for what, number, first, second, third in sequence:
        task = TaskRef(f"t{number}")
        if what == "learn":
            schedule.learn(task, first, second, entry=third)
        elif what == "ended":
            schedule.learn(task, first / 2, first)
        else:
            delay = schedule.next_delay(task, first, age_known=bool(third))
            bounds = schedule._known[TASK.kind].model
            most = longest or (bounds.bounds.longest if bounds else 60.0)
            assert 0.8 * 0.5 <= delay <= 1.2 * most

            assert 0.0 <= schedule.priority(task, first, second) or first > second
            eta = schedule.eta(task, first, age_known=bool(third))
            assert eta is None or 0.0 <= eta.low <= eta.median <= eta.high


# What others ask.


def test_nothing_is_said_where_nothing_is_learnt() -> None:
    """There is no estimate before, and none for an age beyond all that is known."""
    assert AdaptiveSchedule().eta(TASK, 5.0) is None
    assert taught().eta(DUB, 5.0) is None
    assert taught().eta(TASK, 1e7) is None
    assert taught().eta(TASK, math.inf) is None


def test_an_eta_counts_down() -> None:
    """It follows the tasks learnt, and is a range; nan counts as no age."""
    schedule = taught(200)
    new, old = schedule.eta(TASK, math.nan), schedule.eta(TASK, 60.0)
    assert new is not None
    assert old is not None

    assert pytest.approx(60.0, rel=0.1) == new.median
    assert [pytest.approx(60 * math.exp(0.3 * z), rel=0.15) for z in (-1.28, 1.28)] == [
        new.low,
        new.high,
    ]
    assert 0.0 == new.done_by_now
    assert pytest.approx(0.5, abs=0.1) == old.done_by_now
    assert old.low < old.median < new.median
    assert isinstance(old, Eta)


def test_an_eta_of_unknown_age_is_a_wide_range() -> None:
    """A task met at any time has less to go, and who knows how much."""
    schedule = taught(200)
    known_age, unknown = (
        schedule.eta(TASK, 0.0, age_known=known) for known in (True, False)
    )
    assert known_age is not None
    assert unknown is not None

    assert unknown.median < 0.7 * known_age.median
    assert unknown.high / unknown.low > 2 * known_age.high / known_age.low


def test_the_poll_that_is_worth_more_comes_first() -> None:
    """A task likely to have ended goes before one that has hardly begun."""
    schedule = taught(200)
    young, due, overdue = (
        schedule.priority(TASK, asked, age)
        for asked, age in ((0.0, 20.0), (0.0, 60.0), (0.0, 75.0))
    )

    assert 2.0 < due < overdue
    assert 10.0 * young < due
    assert young < schedule.priority(TASK, 0.0, 20.0, age_known=False)


@pytest.mark.parametrize(
    ("asked", "age", "cold", "beyond"),
    [
        (0.0, 8.0, 4.0, 8.0),
        (0.0, 0.5, 0.125, 0.5),
        (5.0, 8.0, 9.0 / 16.0, 3.0),
        (7.0, 7.0, 0.0, 0.0),
        (8.0, 7.0, 0.0, 0.0),
    ],
)
def test_where_nothing_is_known_who_waits_longest_comes_first(
    asked: float, age: float, cold: float, beyond: float
) -> None:
    """Before anything is learnt in proportion to age, and not beyond all tasks."""
    assert cold == AdaptiveSchedule().priority(TASK, asked, age)
    assert beyond == taught().priority(TASK, asked + 1e7, age + 1e7)


# Persistence.


def test_what_is_written_down_is_what_was_learnt() -> None:
    """A schedule made from it has the same delays, by way of JSON."""
    schedule = taught(150)
    schedule.learn(DUB, 30.0, math.inf, entry=10.0)
    data = schedule.to_dict()
    again = AdaptiveSchedule.from_dict(json.loads(json.dumps(data)), seed=7)
    schedule._random.seed(7)

    for age in (0.0, 30.0, 60.0, 200.0):
        assert again.next_delay(TASK, age) == schedule.next_delay(TASK, age)
    assert data == again.to_dict()
    assert len(json.dumps(data)) < 5000


@pytest.mark.parametrize("knobs", [{"polls": 3.0}, {"latency": 1.0}], ids=str)
def test_knobs_are_not_written_down(knobs: dict[str, Any]) -> None:
    """They are given anew, and what was learnt serves any of them."""
    schedule = taught(60, **knobs)
    again = AdaptiveSchedule.from_dict(schedule.to_dict(), seed=7, **knobs)
    other = AdaptiveSchedule.from_dict(schedule.to_dict(), seed=7)
    schedule._random.seed(7)
    delay = schedule.next_delay(TASK, 60.0)

    assert delay == again.next_delay(TASK, 60.0)
    assert delay != other.next_delay(TASK, 60.0)


def test_a_schedule_that_knows_nothing_is_written_down() -> None:
    """It comes back as one that knows nothing; unknown kinds are passed over."""
    empty = AdaptiveSchedule()
    empty.next_delay(TASK, 0.0)
    assert {"version": 1, "kinds": {}} == empty.to_dict()

    data = {"version": 1, "kinds": {"a-new-kind": 5}}
    assert empty.to_dict() == AdaptiveSchedule.from_dict(data).to_dict()


def learnt(**changed: Any) -> dict[str, Any]:
    """Return what could have been written down, but for what is changed."""
    kind = {"tasks": [[4.0, 5.0], [4, None, 1.5]], "bias": 1.0, **changed}
    return {"version": 1, "kinds": {"tts": kind}}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "no int under 'version'"),
        ([], "no int under 'version'"),
        ({}, "no int under 'version'"),
        ({"version": True}, "no int under 'version'"),
        ({"version": "1"}, "no int under 'version'"),
        ({"version": 2, "kinds": {}}, "version 2, not 1"),
        ({"version": 1}, "no dict under 'kinds'"),
        ({"version": 1, "kinds": []}, "no dict under 'kinds'"),
        ({"version": 1, "kinds": {"tts": 5}}, "no dict under 'tts'"),
        (learnt(tasks=None), "no list under 'tasks'"),
        (learnt(bias=None), "None where a number"),
        (learnt(bias=-1.0), "-1.0 where a number"),
        (learnt(bias=1e9), "1000000000.0 where a number"),
        (learnt(tasks=[5]), "a task is 5"),
        (learnt(tasks=[[]]), r"a task is \[\]"),
        (learnt(tasks=[[1, 2, 3, 4]]), r"a task is \[1, 2, 3, 4\]"),
        (learnt(tasks=["ab"]), "a task is 'ab'"),
        (learnt(tasks=[[5.0, 4.0]]), r"a task is \[5.0, 4.0\]"),
        (learnt(tasks=[[0.0, 0.0]]), r"a task is \[0.0, 0.0\]"),
        (learnt(tasks=[["1", 2.0]]), "'1' where a number"),
        (learnt(tasks=[[True, 2.0]]), "True where a number"),
        (learnt(tasks=[[1.0, math.inf]]), "inf where a number"),
        (learnt(tasks=[[math.nan, 2.0]]), "nan where a number"),
        (learnt(tasks=[[1.0, 2.0, None]]), "None where a number"),
        (learnt(tasks=[[1.0, 10**400]]), "where a number"),
        (learnt(tasks=["x" * 1000]), "^.{1,130}$"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_what_was_not_written_here_is_refused(data: Any, message: str) -> None:
    """The message says what is wrong with it, briefly."""
    with pytest.raises(ValueError, match=message):
        AdaptiveSchedule.from_dict(data)


def test_no_more_is_read_than_is_remembered() -> None:
    """A file with more tasks than that gives the last of them; no bias is one."""
    tasks = [[4.0, 5.0]] * 10 + [[6.0, 7.0]] * MEMORY
    schedule = AdaptiveSchedule.from_dict(learnt(tasks=tasks, bias=0))
    experience = schedule._known[TaskKind.TTS]

    assert {(6.0, 7.0, 0.0)} == set(experience.seen)
    assert (MEMORY, 1.0) == (len(experience.seen), experience.bias)


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["version", "kinds", "tts", "dub", "tasks", "bias"]), inner
        )
    ),
    max_leaves=30,
)


@given(data=json_like, tasks=json_like)
def test_a_hostile_file_raises_a_value_error_or_serves(data: Any, tasks: Any) -> None:
    """Nothing else can come of it."""
    for each in (data, learnt(tasks=tasks)):
        try:
            schedule = AdaptiveSchedule.from_dict(each)
        except ValueError:
            continue
        assert 0.4 <= schedule.next_delay(TaskRef("abc", TaskKind.TTS), 5.0) <= 72.0
