"""A few pollers that share the work of many tasks: none sleeps per task."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from functools import partial
from random import Random
from typing import Generic, TypeVar

from anyio.abc import TaskGroup

from ._ranking import URGENCY, Ranking


ItemT = TypeVar("ItemT", bound=Hashable)


class Pollers(Generic[ItemT]):
    """Run ``work`` on each item pushed, at most ``size`` at a time.

    Where some have to wait, those go first that are worth more at the time.
    Pollers are started in ``group`` when they are first needed and end with it.
    ``work`` must not raise.
    """

    def __init__(
        self,
        group: TaskGroup,
        size: int,
        work: Callable[[ItemT], Awaitable[None]],
        worth: Callable[[ItemT, float], float],
    ) -> None:
        self._group = group
        self._size = size
        self._work = work
        self._worth = worth
        self._started = 0
        self._loop = asyncio.get_running_loop()
        self._random = Random()
        self._ready: Ranking[ItemT] = Ranking()
        self._idle: deque[asyncio.Future[None]] = deque()

    @property
    def busy(self) -> bool:
        """Whether an item pushed now would have to wait."""
        return len(self._ready) >= len(self._idle) + self._size - self._started

    def push(self, item: ItemT, now: float) -> None:
        """Hand ``item`` to the next free poller."""
        self._ready.put(item, self._worth, now)
        while self._idle:
            turn = self._idle.popleft()
            if not turn.done():  # as it is when the group is being cancelled
                turn.set_result(None)
                return
        if self._started < self._size:
            self._started += 1
            self._group.start_soon(self._run)

    def discard(self, item: ItemT) -> None:
        """Take back an item that was pushed and not yet begun."""
        self._ready.discard(item)

    async def _run(self) -> None:
        while True:
            while self._ready:
                item = self._ready.take(self._loop.time(), self._random.random())
                URGENCY.set(partial(self._worth, item))
                await self._work(item)
            turn = self._loop.create_future()
            self._idle.append(turn)
            await turn
