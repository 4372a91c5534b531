"""What readers of a store are handed out: read ahead, and taken back if need be."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence

from camb_async.models import TaskRef, Transition


#: Transitions that a store reads at once.
READ_AHEAD = 250


class Delivery:
    """Hands out each transition that a store reads to one reader at a time.

    Args:
        read: how the store reads on: what was never returned by it, oldest first.
    """

    def __init__(self, read: Callable[[], Awaitable[Iterable[Transition]]]) -> None:
        self._read = read
        self._ready: deque[Transition] = deque()
        self._handed_out: set[tuple[str, int] | None] = set()
        self._reading: asyncio.Task[None] | None = None

    def __contains__(self, key: object) -> bool:
        return key in self._handed_out or any(t.key == key for t in self._ready)

    async def take(self, limit: int) -> list[Transition]:
        """Hand out transitions, none if there are none.

        Raises:
            StoreError: they could not be read.
        """
        # What is being read may have been asked for before there was what is wanted.
        for _ in range(1 if self._reading is None else 2):
            if len(self._ready) < limit:
                await self._read_on()
        # From here on nothing can be cancelled before it is handed out.
        count = min(limit, len(self._ready))
        taken = [self._ready.popleft() for _ in range(count)]
        self._handed_out.update(transition.key for transition in taken)
        return taken

    def done(self, keys: Iterable[tuple[str, int]]) -> None:
        """Take note that these were handled."""
        self._handed_out.difference_update(keys)

    def requeue(self, transitions: Sequence[Transition]) -> None:
        """Take back what was handed out, the oldest first."""
        for transition in reversed(transitions):
            # Not what was handed out before the store was closed and opened again.
            if transition.key in self._handed_out:
                self._handed_out.remove(transition.key)
                self._ready.appendleft(transition)

    def forget(self, task: TaskRef) -> None:
        """Hand out nothing more of a task."""
        self._ready = deque(t for t in self._ready if t.task != task)

    def forget_all(self) -> None:
        """Hand out nothing of what was read, and take nothing of it back."""
        self._ready.clear()
        self._handed_out.clear()

    async def end(self) -> None:
        """Wait until nothing is being read."""
        if self._reading is not None:
            await asyncio.wait([self._reading])

    async def _read_on(self) -> None:
        # Readers share it, and it ends also if they are cancelled: what is read by
        # then is there for the next one.
        if self._reading is None or self._reading.done():
            self._reading = asyncio.ensure_future(self._extend())
            self._reading.add_done_callback(self._end_reading)
        await asyncio.shield(self._reading)

    async def _extend(self) -> None:
        self._ready.extend(await self._read())

    def _end_reading(self, reading: asyncio.Task[None]) -> None:
        if self._reading is reading:
            self._reading = None
        if not reading.cancelled():
            # Nobody may be left to be told of a failure.
            reading.exception()
