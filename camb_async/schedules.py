"""When to poll next: pure arithmetic on a task's age, with jitter.

A schedule owns its random source, so a seeded one is repeatable. Delays are
spread by 10 to 20 percent so that tasks which began together drift apart.
"""

from __future__ import annotations

import logging
from math import isnan
from random import Random
from typing import Protocol, runtime_checkable

import attrs

from .models import TaskRef
from .policies import positive


logger = logging.getLogger("camb_async")


@runtime_checkable
class PollSchedule(Protocol):
    """What decides when a task is polled next. All times are in seconds."""

    def next_delay(self, task: TaskRef, age: float, *, age_known: bool = True) -> float:
        """Return the seconds until the next poll of a task of this age.

        ``age`` counts from when the task began; with ``age_known`` False nobody
        knows when that was, and it counts from when the task was added. Age 0.0
        asks for the first poll of a task that has just begun.
        """
        ...

    def learn(
        self, task: TaskRef, lower: float, upper: float, *, entry: float = 0.0
    ) -> None:
        """Take note that a task of known age ended between two polls.

        It was still pending at age ``lower`` and seen finished at age ``upper``
        (``math.inf``: it was given up). ``entry`` is its age when first polled.
        """
        ...


@runtime_checkable
class RankingSchedule(Protocol):
    """A schedule that also knows which of two polls that are due matters more."""

    def priority(
        self, task: TaskRef, asked: float, age: float, *, age_known: bool = True
    ) -> float:
        """Return what polling now is worth, in seconds of unnoticed waiting.

        ``asked`` is the age at which the task was last seen pending, 0.0 if never;
        ``age`` is its age now.
        """
        ...


def _spread(random: Random, share: float) -> float:
    return 1.0 + share * (2.0 * random.random() - 1.0)


@attrs.define
class FixedInterval:
    """Poll every ``seconds``, give or take 10 percent."""

    seconds: float = attrs.field(default=5.0, validator=positive)
    _random: Random = attrs.field(
        factory=Random, alias="random", kw_only=True, repr=False, eq=False
    )

    def next_delay(
        self,
        task: TaskRef,
        age: float,
        *,
        age_known: bool = True,
    ) -> float:
        """Return the interval with its jitter, in seconds."""
        return self.seconds * _spread(self._random, 0.1)

    def learn(
        self, task: TaskRef, lower: float, upper: float, *, entry: float = 0.0
    ) -> None:
        """Learn nothing: the interval is fixed."""


@attrs.define
class ShareOfAge:
    """Poll again after a share of the task's age: often at first, then rarely.

    The lateness of the last poll stays in proportion to how long the task took,
    whatever that was. The share is held between ``floor`` and ``cap`` seconds
    and spread by 20 percent either way.
    """

    share: float = attrs.field(default=0.15, validator=positive, kw_only=True)
    floor: float = attrs.field(default=0.5, validator=positive, kw_only=True)
    cap: float = attrs.field(default=15.0, validator=positive, kw_only=True)
    _random: Random = attrs.field(
        factory=Random, alias="random", kw_only=True, repr=False, eq=False
    )

    def __attrs_post_init__(self) -> None:
        if self.floor > self.cap:
            message = f"floor ({self.floor}) must not be above cap ({self.cap})"
            raise ValueError(message)

    def next_delay(
        self,
        task: TaskRef,
        age: float,
        *,
        age_known: bool = True,
    ) -> float:
        """Return the bounded share of the age with its jitter, in seconds."""
        delay = min(self.cap, max(self.floor, self.share * age))
        return delay * _spread(self._random, 0.2)

    def learn(
        self, task: TaskRef, lower: float, upper: float, *, entry: float = 0.0
    ) -> None:
        """Learn nothing: the share is fixed."""


#: Seconds; used where a schedule fails, and the longest delay taken from one.
DELAY_INSTEAD = 5.0
DELAY_MAX = 86_400.0


@attrs.define
class GuardedSchedule:
    """A schedule whose faults cannot stop a watch: the first of a sort is reported."""

    schedule: PollSchedule
    _reported: set[str] = attrs.field(factory=set[str], init=False)
    _ranks: RankingSchedule | None = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        schedule = self.schedule
        self._ranks = schedule if isinstance(schedule, RankingSchedule) else None

    def next_delay(self, task: TaskRef, age: float, *, age_known: bool = True) -> float:
        """Return what the schedule says, made a number of seconds to wait."""
        try:
            delay = float(self.schedule.next_delay(task, age, age_known=age_known))
            return DELAY_INSTEAD if isnan(delay) else min(max(0.0, delay), DELAY_MAX)
        except Exception:  # noqa: BLE001 - a schedule may raise anything
            self._log("%r failed; polling %s in %s s", task, DELAY_INSTEAD)
            return DELAY_INSTEAD

    def priority(
        self, task: TaskRef, asked: float, age: float, *, age_known: bool = True
    ) -> float:
        """Return what a poll is worth where not all that are due may leave.

        It is the waiting (seconds) that has gone unnoticed since the task was
        ``asked`` about, as far as one can expect. A schedule that does not say is
        taken for one that knows nothing: then the chance of an end fades with age.
        """
        if self._ranks is not None:
            try:
                value = float(
                    self._ranks.priority(task, asked, age, age_known=age_known)
                )
                return 0.0 if isnan(value) else value
            except Exception:  # noqa: BLE001 - a schedule may raise anything
                self._log("%r could not rank %s", task)
        return (age - asked) ** 2 / (2.0 * max(age, 1.0))

    def learn(
        self, task: TaskRef, lower: float, upper: float, *, entry: float = 0.0
    ) -> None:
        """Let the schedule take note of how long a task took."""
        try:
            self.schedule.learn(task, lower, upper, entry=entry)
        except Exception:  # noqa: BLE001 - a schedule may raise anything
            self._log("%r could not learn from %s", task)

    def _log(self, message: str, *details: object) -> None:
        # A schedule that fails for one task usually does so for all, at each poll.
        level = logging.DEBUG if message in self._reported else logging.WARNING
        self._reported.add(message)
        logger.log(level, message, self.schedule, *details, exc_info=True)
