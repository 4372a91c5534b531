"""Work that is looked at from beside it, and what the library logs of stores."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from pathlib import Path
from typing import Any

from camb_async import TaskWatcher

from .screen import Screen


@contextlib.asynccontextmanager
async def at_work(
    job: Callable[..., Coroutine[Any, Any, None]],
) -> AsyncGenerator[tuple[asyncio.Task[None], TaskWatcher]]:
    """Do ``work``, given but for ``observe``, beside the block, which may look at it.

    Leaving the block ends the work, and an error of the work ends the block.
    """
    watchers = asyncio.Queue[TaskWatcher]()
    try:
        async with asyncio.TaskGroup() as group:
            working = group.create_task(job(observe=watchers.put_nowait))
            yield working, await watchers.get()
            working.cancel()
    except BaseExceptionGroup as errors:
        # One cause is not worth a group.
        raise errors.exceptions[0] from None


@contextlib.contextmanager
def telling_of_stores(screen: Screen) -> Generator[None]:
    """Tell what stores warn of: that one fails, and is tried again."""
    handler = _Talk(screen)
    logger = logging.getLogger("camb_async")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


class _Talk(logging.Handler):
    def __init__(self, screen: Screen) -> None:
        super().__init__(logging.WARNING)
        self._screen = screen

    def emit(self, record: logging.LogRecord) -> None:
        # Polls that fail are warned of one by one, which is no talk for a person.
        if Path(record.pathname).parent.name != "stores":
            return
        # Nobody may be left to read it.
        with contextlib.suppress(OSError):
            self._screen.complain_above(record.getMessage())
