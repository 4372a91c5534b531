"""One timer for many requests that all have the same timeout.

``asyncio.timeout`` puts a timer into the event loop's heap for each request, and
takes it out again, which is a tenth of the cost of a poll. Requests that start
later also time out later, so a queue and a single timer do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar


ResultT = TypeVar("ResultT")


class Timeouts:
    """Gives each piece of work ``seconds``. Belongs to the loop it is made in."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._open: dict[asyncio.Timeout, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    async def run(self, work: Awaitable[ResultT]) -> ResultT:
        """Return what ``work`` comes to.

        Raises:
            TimeoutError: it took too long, and was cancelled.
        """
        scope = asyncio.timeout(None)
        deadline = self._loop.time() + self.seconds
        self._open[scope] = deadline
        if self._timer is None:
            self._timer = self._loop.call_at(deadline, self._end_overdue)
        try:
            async with scope:
                return await work
        finally:
            self._open.pop(scope, None)

    def close(self) -> None:
        """End what is still going on, as if its time were up."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for scope in self._open:
            scope.reschedule(self._loop.time())
        self._open.clear()

    def _end_overdue(self) -> None:
        self._timer = None
        now = self._loop.time()
        for scope, deadline in list(self._open.items()):
            if deadline > now:
                self._timer = self._loop.call_at(deadline, self._end_overdue)
                return
            del self._open[scope]
            scope.reschedule(now)
