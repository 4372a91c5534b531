"""When things happened, on a clock that stands still while no process ran."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import attrs

from .ledger import Ledger


@attrs.frozen(kw_only=True)
class Mark:
    """One task's end: noticed at ``at``, ``lateness`` seconds after it may have been.

    ``lateness`` is None if the task was over when it was first seen.
    ``may_have_ended`` is the earliest time at which it may have been, on the clock.
    """

    at: float
    may_have_ended: float
    lateness: float | None
    succeeded: bool


@attrs.frozen(kw_only=True)
class Timeline:
    """Times of work since the batch began, in seconds, gaps left out.

    Attributes:
        created: when each task was created, in order.
        marks: the ends of tasks, in order.
        resumed: where a process took over from one that was stopped.
        end: the last event.
    """

    created: tuple[float, ...]
    marks: tuple[Mark, ...]
    resumed: tuple[float, ...]
    end: float

    @classmethod
    def of(cls, ledger: Ledger) -> Timeline:
        """Return the timeline of a journal."""
        clock = _WorkClock(ledger.sessions)
        rows = ledger.rows.values()
        tasks = [progress.task for progress in rows if progress.task is not None]
        marks = [
            Mark(
                at=clock.read(each.finished.at),
                may_have_ended=max(
                    0.0,
                    clock.read(each.finished.at) - (each.finished.uncertainty or 0.0),
                ),
                lateness=each.finished.uncertainty,
                succeeded=each.finished.error is None,
            )
            for each in rows
            if each.finished is not None
        ]
        return cls(
            created=tuple(
                sorted(clock.read(task.created_at) for task in tasks if task.created_at)
            ),
            marks=tuple(sorted(marks, key=lambda mark: mark.at)),
            resumed=clock.joints(),
            end=clock.end,
        )

    def in_units_of(self, seconds: float) -> Timeline:
        """Return the same with its clock in another unit; lateness stays as it is."""
        return Timeline(
            created=tuple(at / seconds for at in self.created),
            marks=tuple(
                attrs.evolve(
                    mark,
                    at=mark.at / seconds,
                    may_have_ended=mark.may_have_ended / seconds,
                )
                for mark in self.marks
            ),
            resumed=tuple(at / seconds for at in self.resumed),
            end=self.end / seconds,
        )


class _WorkClock:
    def __init__(self, sessions: Sequence[tuple[datetime, datetime]]) -> None:
        self._sessions: list[tuple[datetime, datetime, float]] = []
        self.end = 0.0
        for began, ended in sessions:
            self._sessions.append((began, ended, self.end))
            self.end += max(0.0, (ended - began).total_seconds())

    def read(self, at: datetime) -> float:
        """Return the seconds of work until then."""
        for began, ended, before in reversed(self._sessions):
            if at >= began:
                return before + (min(at, ended) - began).total_seconds()
        return 0.0

    def joints(self) -> tuple[float, ...]:
        return tuple(before for _, _, before in self._sessions[1:])
