"""What the tests of the adaptive schedule share."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from math import inf
from random import Random
from typing import TypeVar

from camb_async._durations import Observation
from camb_async.models import TaskRef
from camb_async.schedules import PollSchedule


ValueT = TypeVar("ValueT")


def finish(work: Generator[None, None, ValueT]) -> ValueT:
    """Do all slices of some work, and return what came of it."""
    while True:
        try:
            next(work)
        except StopIteration as done:
            result: ValueT = done.value
            return result


def seen_by(ages: Iterable[float], duration: float) -> Observation:
    """Return what polls at these ages see of a task of this duration."""
    lower = 0.0
    for age in ages:
        if age >= duration:
            return Observation(lower, age)
        lower = age
    return Observation(lower, inf)


def watch(schedule: PollSchedule, task: TaskRef, duration: float) -> list[float]:
    """Poll a task until it is done, as a watcher does; return the ages of the polls."""
    ages, lower, age = list[float](), 0.0, 0.0
    while age < duration:
        lower, age = age, age + schedule.next_delay(task, age)
        ages.append(age)
    schedule.learn(task, lower, age)
    return ages


def teach(
    schedule: PollSchedule, tasks: int, *, median: float = 60.0, seed: int = 1
) -> float:
    """Let a schedule watch tasks one by one; return their mean lateness.

    Their durations are lognormal, with a sigma of .3.
    """
    random, late = Random(seed), 0.0
    for number in range(tasks):
        duration = median * random.lognormvariate(0.0, 0.3)
        late += watch(schedule, TaskRef(f"{seed}-{number}"), duration)[-1] - duration
    return late / tasks
