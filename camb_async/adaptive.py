"""The schedule that learns how long tasks take, and polls when that pays."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from random import Random
from typing import Any, Self

import attrs

from ._breakeven import due, waiting
from ._durations import Durations, Observation
from ._experience import AGE_MAX, AGE_MIN, LONGEST, Aim, Experience
from ._recall import VERSION, field, plain, recalled
from .kinds import TaskKind
from .models import TaskRef
from .policies import positive, positive_or_none
from .schedules import ShareOfAge, spread


_POLLS = 6.0
# How it polls before anything is learnt.
_COLD = ShareOfAge()
_RARE = 1e-9


@attrs.frozen
class Eta:
    """When a task is likely to be done, in seconds from now.

    Attributes:
        done_by_now: the share of tasks that are over by this age, 0.0 to 1.0.
        low: if it is still pending, it takes less than this in one of ten cases.
        median: and less than this in half of them.
        high: and less than this in nine of ten. Where it is far from ``low``,
            show both: no single number would be honest.
    """

    done_by_now: float
    low: float
    median: float
    high: float


def worth_unknown(asked: float, age: float) -> float:
    """Return what a poll is worth where nothing is known of how long tasks take.

    The chance of an end is then taken to fade with age, as one over it.
    """
    return (age - asked) ** 2 / (2.0 * max(age, 1.0))


def _one_or_more(
    schedule: object, knob: attrs.Attribute[Any], value: float | None
) -> None:
    positive_or_none(schedule, knob, value)
    if value is not None and value < 1.0:
        message = f"{knob.name} must be at least 1, not {value!r}"
        raise ValueError(message)


@attrs.define(kw_only=True, eq=False)
class AdaptiveSchedule:
    """Poll when a task is likely to be done, as learnt from those before it.

    Each kind of task is learnt by itself. Until three tasks of a kind were seen
    to end, it polls after 15 percent of the age, as ``ShareOfAge`` does. From
    then on a poll is due when the time that a task may have been done unnoticed
    outweighs the price of asking in vain; the price follows from ``polls`` or
    ``latency``. When the service becomes faster or slower, what was learnt before
    is forgotten.

    Attributes:
        polls: requests a task on average, 6.0 unless ``latency`` is given.
        latency: seconds from the end of a task to the poll that sees it, on
            average; instead of ``polls``.
        min_interval: seconds, the shortest delay between two polls.
        max_interval: seconds, the longest one. None: 60.0, or the median of what
            the tasks take where that is longer.
        hint: seconds that a task may take. It counts as much as one task seen.
        seed: makes the delays repeatable.

    Raises:
        ValueError: ``polls`` and ``latency`` are both given, or a knob is not a
            number in its range.
    """

    polls: float | None = attrs.field(default=None, validator=_one_or_more)
    latency: float | None = attrs.field(default=None, validator=positive_or_none)
    min_interval: float = attrs.field(default=0.5, validator=positive)
    max_interval: float | None = attrs.field(default=None, validator=positive_or_none)
    hint: float = attrs.field(default=30.0, validator=positive)
    seed: int | None = None
    _random: Random = attrs.field(init=False, repr=False)
    _aim: Aim = attrs.field(init=False, repr=False)
    _known: dict[TaskKind, Experience] = attrs.field(
        factory=dict[TaskKind, Experience], init=False, repr=False
    )

    def __attrs_post_init__(self) -> None:
        if self.polls is not None and self.latency is not None:
            message = "Give either polls or latency: each follows from the other."
            raise ValueError(message)
        if self.polls is None and self.latency is None:
            self.polls = _POLLS
        longest = self.max_interval or LONGEST
        if self.min_interval > longest:
            message = (
                f"min_interval ({self.min_interval}) must not be above "
                f"max_interval ({longest})"
            )
            raise ValueError(message)
        self._random = Random(self.seed)
        self._aim = Aim(
            self.polls, self.latency, self.min_interval, self.max_interval, self.hint
        )

    def next_delay(self, task: TaskRef, age: float, *, age_known: bool = True) -> float:
        """Return the seconds until the next poll of a task of this age."""
        known = self._of(task.kind)
        known.advance()
        age = min(age, AGE_MAX) if age > 0.0 else 0.0
        model = known.model
        if model is None:
            delay = self._by_share(age)
        else:
            durations = model.durations if age_known else model.remaining
            price = model.price * spread(self._random, 0.15)
            delay = due(durations, age, price) - age
            bounds = model.bounds
            if delay < bounds.shortest:
                delay = bounds.shortest * spread(self._random, 0.1)
            elif delay > bounds.longest:
                delay = bounds.longest * spread(self._random, 0.1)
        if age_known:
            known.follow(task, age, delay)
        return delay

    def learn(
        self, task: TaskRef, lower: float, upper: float, *, entry: float = 0.0
    ) -> None:
        """Take note of how long a task took; impossible ages are passed over."""
        known = self._of(task.kind)
        known.advance()
        if not 0.0 <= lower <= upper:
            return
        # To the millisecond: what is written down must be what was learnt.
        ended = upper if upper == inf else max(round(min(upper, AGE_MAX), 3), AGE_MIN)
        entry = round(min(entry, AGE_MAX), 3) if entry > 0.0 else 0.0
        known.learn(task, Observation(round(min(lower, AGE_MAX), 3), ended, entry))

    def eta(self, task: TaskRef, age: float, *, age_known: bool = True) -> Eta | None:
        """Return when a task of this age is likely to be done.

        None when nothing is learnt of its kind, or of tasks as old as this.
        """
        durations = self._durations(task, age_known=age_known)
        age = min(age, AGE_MAX) if age > 0.0 else 0.0
        if durations is None or age >= durations.ages[-1]:
            return None
        over, _ = durations.at(age)
        low, median, high = (
            max(durations.age_by(over + share * (1.0 - over)) - age, 0.0)
            for share in (0.1, 0.5, 0.9)
        )
        return Eta(over, low, median, high)

    def priority(
        self, task: TaskRef, asked: float, age: float, *, age_known: bool = True
    ) -> float:
        """Return what a poll is worth now: of two that are due, the greater first.

        ``asked`` is the age at the last poll that found the task pending, 0.0 if
        there was none. It is the unnoticed waiting expected since, over the share
        of tasks that are pending still, in seconds; or the time since that poll
        for a task that has outlasted all that are known.
        """
        if not 0.0 <= asked < age:
            return 0.0
        asked, age = min(asked, AGE_MAX), min(age, AGE_MAX)
        durations = self._durations(task, age_known=age_known)
        if durations is None:
            return worth_unknown(asked, age)
        if age >= durations.ages[-1]:
            return age - asked
        waited, _ = waiting(durations, asked, age)
        return waited / max(1.0 - durations.at(age)[0], _RARE)

    def to_dict(self) -> dict[str, Any]:
        """Return what was learnt, as plain values that JSON can hold.

        Knobs are not part of it, nor are tasks that are under way. At most 400
        tasks a kind are remembered. Brings all models up to date, which takes
        some milliseconds.
        """
        for known in self._known.values():
            known.settle()
        kinds = {
            kind.value: plain(known.seen, known.bias)
            for kind, known in self._known.items()
            if known.seen
        }
        return {"version": VERSION, "kinds": kinds}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], **knobs: Any) -> Self:
        """Return a schedule that knows what ``to_dict`` wrote down.

        ``knobs`` are those of the class. Kinds that are not known are passed over.

        Raises:
            ValueError: this is not what ``to_dict`` returns, or a knob is wrong.
        """
        schedule = cls(**knobs)
        version = field(data, "version", int)
        if version != VERSION:
            message = f"What was learnt has version {version}, not {VERSION}"
            raise ValueError(message)
        kinds: dict[str, Any] = field(data, "kinds", dict)
        for kind in TaskKind:
            if kind.value in kinds:
                learnt: dict[str, Any] = field(kinds, kind.value, dict)
                schedule._of(kind).recall(*recalled(learnt))
        return schedule

    def _of(self, kind: TaskKind) -> Experience:
        known = self._known.get(kind)
        if known is None:
            known = self._known[kind] = Experience(self._aim, self._random)
        return known

    def _durations(self, task: TaskRef, *, age_known: bool) -> Durations | None:
        known = self._known.get(task.kind)
        if known is None or known.model is None:
            return None
        return known.model.durations if age_known else known.model.remaining

    def _by_share(self, age: float) -> float:
        delay = min(max(_COLD.share * age, _COLD.floor), _COLD.cap)
        delay = max(min(delay, self.max_interval or _COLD.cap), self.min_interval)
        return delay * spread(self._random, 0.2)
