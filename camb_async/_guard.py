"""What stands between a watch and its schedule: nothing it does can stop a watch.

A schedule has to say when to poll next. One that also knows how long tasks take may
say which of two polls matters more, and when a task is likely to be done.
"""

from __future__ import annotations

import logging
from math import isnan
from typing import Protocol, runtime_checkable

import attrs

from .adaptive import Eta, worth_unknown
from .models import TaskRef
from .schedules import PollSchedule


logger = logging.getLogger("camb_async")


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


@runtime_checkable
class ForeseeingSchedule(Protocol):
    """A schedule that also knows when a task is likely to be done."""

    def eta(self, task: TaskRef, age: float, *, age_known: bool = True) -> Eta | None:
        """Return that, for a task which is pending at this age."""
        ...


#: Seconds; used where a schedule fails, and the longest delay taken from one.
DELAY_INSTEAD = 5.0
DELAY_MAX = 86_400.0


@attrs.define
class GuardedSchedule:
    """A schedule whose faults cannot stop a watch: the first of a sort is reported."""

    schedule: PollSchedule
    _reported: set[str] = attrs.field(factory=set[str], init=False)
    _ranks: RankingSchedule | None = attrs.field(init=False)
    _foresees: ForeseeingSchedule | None = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        schedule = self.schedule
        self._ranks = schedule if isinstance(schedule, RankingSchedule) else None
        self._foresees = schedule if isinstance(schedule, ForeseeingSchedule) else None

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
        return worth_unknown(asked, age)

    def eta(self, task: TaskRef, age: float, *, age_known: bool = True) -> Eta | None:
        """Return when the task is likely to be done; None if nobody knows."""
        if self._foresees is None:
            return None
        try:
            return self._foresees.eta(task, age, age_known=age_known)
        except Exception:  # noqa: BLE001 - a schedule may raise anything
            self._log("%r could not foresee %s", task)
            return None

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
