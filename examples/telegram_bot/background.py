"""Work beside a block: no task outlives it, and no error goes unheard."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any


logger = logging.getLogger(__name__)


class Background:
    """A set of asyncio tasks that is ended as a whole."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Begin some work; an error of it is logged and touches nothing else."""
        task = asyncio.ensure_future(work)
        task.add_done_callback(_tell)
        self.adopt(task)

    def adopt(self, task: asyncio.Task[Any] | None) -> None:
        """Take in a task that somebody else began, and looks after the errors of."""
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def end(self, *, grace: float = 0.0) -> None:
        """Give what is under way ``grace`` seconds, then cancel it."""
        if grace and self._tasks:
            await asyncio.wait(self._tasks, timeout=grace)
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks)


def _tell(task: asyncio.Task[Any]) -> None:
    if not task.cancelled() and task.exception() is not None:
        logger.error("Work in the background failed", exc_info=task.exception())
