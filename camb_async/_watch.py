"""What a watch is made of: whom to ask, who is waiting, where it stands."""

from __future__ import annotations

import asyncio
from enum import Enum, auto
from math import inf
from typing import Protocol

import attrs

from ._tracking import Tracker
from .models import TaskRef, TaskState


#: Seconds that a last poll may take, past the deadline and once it has left.
LAST_POLL_PATIENCE = 2.0
#: Seconds past the deadline that a last poll may wait for its turn to leave, where
#: more tasks reach their deadline than the limits let through at once.
LAST_POLL_QUEUE = 60.0


class StatusSource(Protocol):
    """Where a watcher learns a task's status: a CambSession, or a fake in tests.

    A source may also have the attributes ``limits`` (Limits) and ``retry``
    (RetryPolicy); its watchers take their concurrency and back-off from them. What
    several watchers of a CambSession share are its ``schedule``, so that all learn
    from all, its ``retry_budget``, and its ``refusal_listeners``, a set of callables
    that are told when a key is refused.
    """

    async def poll(self, task: TaskRef, /) -> TaskState:
        """Ask once for the status of one task.

        Returns:
            What the answer said.

        Raises:
            CambError: there was no usable answer; the watcher decides what that
                means for the watch.
        """
        ...


class Phase(Enum):
    """Where a watch is: in the agenda, called up to be polled, being polled, over."""

    WAITING = auto()
    READY = auto()
    POLLING = auto()
    GONE = auto()


@attrs.frozen(eq=False)
class Waiter:
    """Somebody in ``wait``: the future to settle, since when, and until when."""

    future: asyncio.Future[TaskState | Exception]
    since: float
    deadline_at: float

    def settle(self, outcome: TaskState | Exception) -> None:
        """Hand over the outcome, unless the waiter was cancelled just now."""
        if not self.future.done():
            self.future.set_result(outcome)


@attrs.define(eq=False, weakref_slot=False)
class Watch(Tracker):
    """A tracker with its place in the engine's queues.

    ``left_at`` is when it left the agenda to be polled, and then, when its poll left.
    """

    phase: Phase = Phase.GONE
    due: float = 0.0
    left_at: float = -inf
    waiters: tuple[Waiter, ...] = ()

    @property
    def wanted(self) -> bool:
        """Whether anybody still wants to know."""
        return self.listed or bool(self.waiters)

    @property
    def stop_at(self) -> float:
        """When the first of those who want to know gives up."""
        stop_at = self.deadline_at if self.listed else inf
        for waiter in self.waiters:
            stop_at = min(stop_at, waiter.deadline_at)
        return stop_at

    @property
    def patience_ends_at(self) -> float:
        """When whoever gives up at ``stop_at`` waits no longer for the last poll."""
        queued = self.phase is Phase.READY
        patience = LAST_POLL_QUEUE if queued else LAST_POLL_PATIENCE
        return max(self.stop_at, self.left_at) + patience
