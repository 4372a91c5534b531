"""Read what a store has recorded: at least once, acknowledged by coming back."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Self

from camb_async.models import Transition

from ._insisting import Insisting
from ._protocol import TaskStore


class StoredTransitions:
    """Hands out one transition at a time; asking for the next acknowledges it.

    One loop at a time reads by it, and may be left with ``break`` and taken up again.
    When it is dropped, what was handed out last goes to another reader, unless it was
    acknowledged.
    """

    def __init__(self, store: TaskStore, *, until_empty: bool) -> None:
        self._store = store
        self._until_empty = until_empty
        self._current: Transition | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._insist = Insisting()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Transition:
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            # A loop that has just failed gives back what it had, which comes first.
            await asyncio.sleep(0)
        if self._current is not None:
            current = self._current
            await self._insist(lambda: self._store.ack([current]))
            self._current = None
        ended = False
        while True:
            news = self._store.transitions_changed()
            delivered = await self._insist(lambda: self._store.deliver(1))
            if delivered:
                self._current = delivered[0]
                return self._current
            if ended:
                raise StopAsyncIteration
            # What ended the last watch was recorded before: look once more.
            ended = self._until_empty and not await self._insist(self._store.watching)
            if not ended:
                await news.wait()

    def __del__(self) -> None:
        # A traceback that is let go of ends here, too: that of a loop whose body
        # failed. Garbage is collected in any thread, even when the loop is closed.
        if self._current is not None and self._loop is not None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._store.requeue, [self._current])
