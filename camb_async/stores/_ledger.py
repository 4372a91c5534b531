"""What a worker holds of a store, and what the store is to hear of it.

A watcher knows a task since it was handed over to it. The ledger puts before that
what the store knows from earlier: when the task was added, what was told of it
last, and under which number. Nothing here reads a clock.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs

from camb_async._tracking import deadline_error
from camb_async.errors import DeadlineExceededError
from camb_async.models import TaskRef, TaskState, Transition


@attrs.frozen(kw_only=True)
class StoredTask:
    """What is known of a watched task, free of clocks and handles.

    Attributes:
        watch: which watch; the same task has another one each time it is added.
        task: which task.
        context: what was given to ``add``.
        added: when it was added, in seconds of the wall clock.
        deadline_at: when its watch ends at the latest, likewise; None for never.
        last_state: what was told of it last; None before first sight.
        last_at: when that was noticed, in seconds of the wall clock.
        polls: how many polls it took until then.
        seq: how many transitions of it are recorded.
        claims: how often it was claimed since it was last seen to be polled.
    """

    watch: str
    task: TaskRef
    context: Any
    added: float
    deadline_at: float | None
    last_state: TaskState | None = None
    last_at: float | None = None
    polls: int = 0
    seq: int = 0
    claims: int = 1

    def seconds_left(self, now: float) -> float | None:
        """Return the seconds until the deadline, 0.0 once it has passed."""
        return None if self.deadline_at is None else max(0.0, self.deadline_at - now)


@attrs.define
class _Holding:
    stored: StoredTask
    since: float
    seq: int


class Ledger:
    """The tasks that a worker has claimed, and how far each is told."""

    def __init__(self) -> None:
        self._holdings: dict[TaskRef, _Holding] = {}
        self._tasks: dict[str, TaskRef] = {}
        self._unproven: dict[str, TaskRef] = {}

    def __len__(self) -> int:
        return len(self._holdings)

    def take(self, stored: StoredTask, now: float) -> None:
        """Take note of a task that is watched from ``now`` on (wall clock).

        An earlier watch of the same task is forgotten.
        """
        earlier = self._holdings.get(stored.task)
        if earlier is not None:
            self.drop(earlier.stored.watch)
        self._holdings[stored.task] = _Holding(stored, now, stored.seq)
        self._tasks[stored.watch] = stored.task
        # The first sight of a new task is recorded, and says as much.
        if stored.claims > 1 or stored.last_state is not None:
            self._unproven[stored.watch] = stored.task

    def held(self) -> list[tuple[str, TaskRef]]:
        """Return all watches that are held."""
        return list(self._tasks.items())

    def unproven(self) -> list[tuple[str, TaskRef]]:
        """Return the watches taken over of which no poll is known yet."""
        return list(self._unproven.items())

    def proved(self, watches: Iterable[str]) -> None:
        """Take note that these were polled."""
        for watch in watches:
            self._unproven.pop(watch, None)

    def drop(self, watch: str) -> TaskRef | None:
        """Forget a watch; return its task if it was held."""
        self.proved([watch])
        task = self._tasks.pop(watch, None)
        if task is not None:
            del self._holdings[task]
        return task

    def clear(self) -> list[TaskRef]:
        """Forget everything; return what was held."""
        held = list(self._holdings)
        self._holdings.clear()
        self._tasks.clear()
        self._unproven.clear()
        return held

    def enter(self, transition: Transition) -> Transition | None:
        """Return a watcher's transition as it is to be recorded, under its key.

        A final one ends the holding. None if the task is not held.
        """
        holding = self._holdings.get(transition.task)
        if holding is None:
            return None
        stored = holding.stored
        holding.seq += 1
        self.proved([stored.watch])
        before = max(0.0, holding.since - stored.added)
        entered = attrs.evolve(
            transition,
            key=(stored.watch, holding.seq),
            elapsed=before + transition.elapsed,
            polls=stored.polls + transition.polls,
            uncertainty=_uncertainty(holding, transition),
            error=_error(transition, before),
        )
        if transition.is_final:
            self.drop(stored.watch)
        return entered


def _uncertainty(holding: _Holding, transition: Transition) -> float | None:
    """Return how long ago the change may have been, the time between watches too."""
    if holding.seq > holding.stored.seq + 1 or holding.stored.last_at is None:
        return transition.uncertainty
    gap = max(0.0, transition.at.timestamp() - holding.stored.last_at)
    return min(gap, gap if transition.uncertainty is None else transition.uncertainty)


def _error(transition: Transition, before: float) -> Exception | None:
    error = transition.error
    if not before or not isinstance(error, DeadlineExceededError):
        return error
    cause = error.__cause__ if isinstance(error.__cause__, Exception) else None
    return deadline_error(error.task, error.state, before + error.elapsed, cause)
