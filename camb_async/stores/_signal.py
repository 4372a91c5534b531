"""Tell any number of waiters that there is news, so that none misses it."""

from __future__ import annotations

import asyncio


class Signal:
    """An event that is replaced each time it is set."""

    def __init__(self) -> None:
        self._next = asyncio.Event()

    def next(self) -> asyncio.Event:
        """Return the event that is set the next time there is news."""
        return self._next

    def fire(self) -> None:
        """Wake everybody who waits."""
        self._next.set()
        self._next = asyncio.Event()
