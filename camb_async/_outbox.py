"""Transitions on their way to the readers: a queue that survives cancellation.

What is queued is bounded by the tasks watched: at most UNREAD_MAX of one task
(the engine sees to that) and final ones. It is kept per task, so that what is
unread of one task can be counted and dropped without looking at the others.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque

from .models import TaskRef, Transition


class Outbox:
    """Many readers take turns; each transition goes to exactly one of them."""

    def __init__(self) -> None:
        self._unread: OrderedDict[TaskRef, deque[Transition]] = OrderedDict()
        self._readers: deque[asyncio.Future[None]] = deque()

    def __bool__(self) -> bool:
        return bool(self._unread)

    def unread(self, task: TaskRef) -> int:
        """Return how many transitions of this task wait to be read."""
        queue = self._unread.get(task)
        return 0 if queue is None else len(queue)

    def put(self, transition: Transition) -> None:
        """Queue a transition and wake one reader."""
        queue = self._unread.get(transition.task)
        if queue is None:
            self._unread[transition.task] = deque((transition,))
        else:
            queue.append(transition)
        self._wake_one()

    def take(self) -> Transition:
        """Return the next transition; there must be one."""
        task, queue = next(iter(self._unread.items()))
        transition = queue.popleft()
        if queue:
            # Tasks take turns, so that one that changes often holds up no other.
            self._unread.move_to_end(task)
        else:
            del self._unread[task]
        return transition

    def drop(self, task: TaskRef) -> None:
        """Forget what is unread of this task."""
        self._unread.pop(task, None)

    async def wait(self) -> None:
        """Return when there may be something to take, or ``wake_all`` was called."""
        turn = asyncio.get_running_loop().create_future()
        self._readers.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn in self._readers:
                self._readers.remove(turn)
            elif self._unread:
                # This reader was woken for a transition that it will not take.
                self._wake_one()
            raise

    def wake_all(self) -> None:
        """Wake every reader, because the end of the iteration may have come."""
        while self._readers:
            self._wake_one()

    def _wake_one(self) -> None:
        while self._readers:
            turn = self._readers.popleft()
            if not turn.done():
                turn.set_result(None)
                return
