"""What was learnt of one kind of task, and the model that is made of it.

A poll must not wait for arithmetic, so a model is rebuilt in slices, one with
each call, while the one before goes on serving.

Tasks that run at the same time end in the order of how long they take, so those
seen to end are no fair sample while others are pending. Some tasks are therefore
followed from their beginning, and count as pending until they end.
"""

from __future__ import annotations

from collections.abc import Generator
from math import inf, sqrt
from random import Random
from typing import NamedTuple

import attrs

from ._breakeven import Bounds, Outlay, price_for, waiting
from ._drift import Drift
from ._durations import Durations, Observation
from ._estimate import estimate
from .models import TaskRef


#: Tasks that are remembered, and tasks under way that are followed.
MEMORY = 400
COHORT = 256
#: Seen to end, before anything is concluded; and what remains after a change.
ENOUGH = 3
REMAINING = 12
#: Seconds; what takes less or more is said to take this long.
AGE_MIN = 1e-3
AGE_MAX = 1e8
#: Seconds, the longest delay unless tasks take longer.
LONGEST = 60.0
#: How many times the expected lateness is held to be possible.
BIAS_MAX = 3.0

# While little is known a poll also teaches, so there may be more of them.
_LESSONS = 6.0
# Nothing is known of an age beyond which fewer tasks were seen to end.
_BEYOND = 4
_BIAS_TASKS = 100.0
# One place in the cohort comes free for so many tasks that found none.
_PATIENCE = 64


@attrs.frozen
class Aim:
    """What a schedule is asked for: polls a task or seconds of lateness, bounds."""

    polls: float | None
    latency: float | None
    shortest: float
    longest: float | None
    hint: float


@attrs.frozen(eq=False)
class Model:
    """What a decision is made from: durations of tasks, and the price of a poll."""

    durations: Durations
    remaining: Durations
    bounds: Bounds
    price: float
    cost: Outlay
    horizon: float


class _Followed(NamedTuple):
    """A task under way: its age when seen last, when polled next, and when met."""

    age: float
    due: float
    entry: float

    def is_met_late(self, age: float) -> bool:
        """Return whether this first poll is so late that the task was not new.

        Nobody knows then for how long it could have been seen to end.
        """
        return not self.age and age > 2.0 * self.due


@attrs.define(eq=False)
class Experience:
    """The memory of one kind. ``bias`` is the lateness seen over that expected."""

    aim: Aim
    random: Random
    seen: list[Observation] = attrs.field(factory=list[Observation])
    bias: float = 1.0
    model: Model | None = None
    _building: Generator[None, None, Model] | None = None
    _fresh: int = 0
    _cohort: dict[TaskRef, _Followed] = attrs.field(factory=dict[TaskRef, _Followed])
    _refused: int = 0
    _doubted: bool = False
    _drift: Drift = attrs.field(factory=Drift)

    def advance(self) -> None:
        """Do a slice of the work there is, if there is any."""
        if self._building is None:
            return
        try:
            next(self._building)
        except StopIteration as built:
            self.model = built.value
            self._doubted = False
            self._building = None

    def recall(self, seen: list[Observation], bias: float) -> None:
        """Begin with what was learnt elsewhere."""
        self.seen.extend(seen)
        self.bias = bias
        self._fresh = len(seen)
        self.settle()

    def settle(self) -> None:
        """Do all the work there is, so that the model knows of every task."""
        if self._fresh:
            self._rebuild()
        while self._building is not None:
            self.advance()

    def follow(self, task: TaskRef, age: float, delay: float) -> None:
        """Take note that a task is pending at this age, and polled after a delay."""
        last = self._cohort.get(task)
        if age <= 0.0:
            if last is None and not self._admit():
                return
            self._cohort[task] = _Followed(0.0, delay, 0.0)
        elif last is not None:
            if last.is_met_late(age):
                last = _Followed(age, age, age)
            self._reckon(last.age, age, ended=False)
            self._cohort[task] = _Followed(age, age + delay, last.entry)

    def learn(self, task: TaskRef, seen: Observation) -> None:
        """Take note of how long a task took."""
        last = self._cohort.pop(task, None)
        if last is None:
            if self._refused:
                self._refused -= 1
                return
            last = _Followed(seen.entry, inf, seen.entry)
        if not (last.is_met_late(seen.upper) or (seen.entry and not seen.lower)):
            self._compare(max(seen.entry, last.age), seen)
        self._remember(seen)

    def _admit(self) -> bool:
        if len(self._cohort) < COHORT:
            return True
        self._refused += 1
        if self._refused % _PATIENCE == 1:
            # Perhaps nobody watches it any more; to give it up is not to forget it.
            age, _, entry = self._cohort.pop(next(iter(self._cohort)))
            self._refused += 1
            self._remember(Observation(age, inf, entry))
        return False

    def _remember(self, seen: Observation) -> None:
        if not seen.lower and seen.upper == inf:
            return
        if len(self.seen) == MEMORY:
            # Any of them, not the oldest: of tasks that began together, those are the
            # quickest, and would all be gone when the next come.
            del self.seen[self.random.randrange(MEMORY)]
        self.seen.append(seen)
        self._fresh += 1
        if self._building is None and self._fresh * 8 >= len(self.seen):
            self._rebuild()

    def _compare(self, since: float, seen: Observation) -> None:
        model = self.model
        if model is None or seen.upper == inf:
            return
        self._reckon(min(since, seen.lower), seen.lower, ended=False)
        waited, over = waiting(model.durations, seen.lower, seen.upper)
        if over > 0.0 and model.cost.lateness > 0.0:
            late = waited / over / model.cost.lateness
            self.bias += (min(late, BIAS_MAX) - self.bias) / _BIAS_TASKS
        self._reckon(seen.lower, seen.upper, ended=True)
        if self._drift.is_certain():
            self._forget()

    def _reckon(self, asked: float, age: float, *, ended: bool) -> None:
        if self.model and age <= self.model.horizon and not self._doubted:
            self._drift.reckon(self.model.durations, asked, age, ended=ended)

    def _forget(self) -> None:
        del self.seen[:-REMAINING]
        self._drift = Drift()
        self._doubted = True
        self.bias = 1.0
        self._rebuild()

    def _rebuild(self) -> None:
        self._fresh = 0
        if sum(seen.upper < inf for seen in self.seen) < ENOUGH:
            return
        pending = [
            Observation(age, inf, entry)
            for age, _, entry in self._cohort.values()
            if age
        ]
        self._building = self._build([*self.seen, *pending], len(self.seen))

    def _build(
        self, observations: list[Observation], learnt: int
    ) -> Generator[None, None, Model]:
        durations = yield from estimate(observations, self.aim.hint)
        remaining = durations.remaining()
        yield
        longest = self.aim.longest or max(LONGEST, durations.age_by(0.5))
        bounds = Bounds(self.aim.shortest, longest)
        lessons = sqrt(1.0 + _LESSONS / learnt)
        polls = self.aim.polls and self.aim.polls * lessons
        latency = self.aim.latency and self.aim.latency / lessons / self.bias
        price, cost = yield from price_for(
            durations, bounds, polls=polls, latency=latency
        )
        ends = sorted(seen.upper for seen in observations if seen.upper < inf)
        horizon = ends[-min(_BEYOND, len(ends))]
        return Model(durations, remaining, bounds, price, cost, horizon)
