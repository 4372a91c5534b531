"""A few pollers that share the work of many tasks: none sleeps per task."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from anyio.abc import TaskGroup


ItemT = TypeVar("ItemT")


class Pollers(Generic[ItemT]):
    """Run ``work`` on each item pushed, at most ``size`` at a time, in order.

    Pollers are started in ``group`` when they are first needed and end with it.
    ``work`` must not raise.
    """

    def __init__(
        self, group: TaskGroup, size: int, work: Callable[[ItemT], Awaitable[None]]
    ) -> None:
        self._group = group
        self._size = size
        self._work = work
        self._started = 0
        self._ready: deque[ItemT] = deque()
        self._idle: deque[asyncio.Future[None]] = deque()

    @property
    def busy(self) -> bool:
        """Whether an item pushed now would have to wait."""
        return len(self._ready) >= len(self._idle) + self._size - self._started

    def push(self, item: ItemT) -> None:
        """Hand ``item`` to the next free poller."""
        self._ready.append(item)
        while self._idle:
            turn = self._idle.popleft()
            if not turn.done():  # as it is when the group is being cancelled
                turn.set_result(None)
                return
        if self._started < self._size:
            self._started += 1
            self._group.start_soon(self._run)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            while self._ready:
                await self._work(self._ready.popleft())
            turn = loop.create_future()
            self._idle.append(turn)
            await turn
