"""A worker seen from outside: its polls, what it holds, and what the library logs.

``work`` has a watcher of its own. What is told of it is counted where it meets the
session and the store.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any, cast

from camb_async import (
    CambError,
    CambSession,
    StoredTask,
    TaskRef,
    TaskState,
    TaskStore,
    Transition,
    WatcherStats,
)

from .screen import Screen, with_notes


#: When no poll succeeded between two looks, that is told.
_OUTAGE_SECONDS = 1.0


class Polls:
    """A session as a worker asks it, which counts the answers.

    ``failing`` is why the last poll failed; None if it did not.
    """

    def __init__(self, camb: CambSession) -> None:
        self._camb = camb
        self.count = 0
        self.failed = 0
        self.failing: str | None = None

    def __getattr__(self, name: str) -> Any:
        # A watcher looks for the limits of its source, and for what watchers share.
        return getattr(self._camb, name)

    async def poll(self, task: TaskRef, /) -> TaskState:
        """Ask for the status of one task; see StatusSource."""
        try:
            state = await self._camb.poll(task)
        except CambError as error:
            self.count += 1
            self.failed += 1
            self.failing = with_notes(error)
            raise
        self.count += 1
        self.failing = None
        return state

    def stats(self) -> WatcherStats:
        """Return the numbers that a watcher would tell, as far as they are known."""
        return WatcherStats(
            watching=0,
            in_flight=0,
            failing=0,
            polls=self.count,
            failed_polls=self.failed,
            transitions=0,
            finished={},
            lag_p99=0.0,
        )

    async def tell_of_an_outage(self, screen: Screen) -> None:
        """Say once that nothing is answered, and why."""
        was_down, answered = False, 0
        while True:
            await asyncio.sleep(_OUTAGE_SECONDS)
            before, answered = answered, self.count - self.failed
            is_down = self.failing is not None and answered == before
            if was_down and is_down:
                screen.complain(f"no poll succeeds; it goes on: {self.failing}")
                return
            was_down = is_down


class Held:
    """A store as a worker uses it, which knows what the worker holds."""

    def __init__(self, store: TaskStore) -> None:
        self._store = store
        self._watches = set[str]()
        self.given_back = 0

    def __len__(self) -> int:
        return len(self._watches)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    @property
    def store(self) -> TaskStore:
        """This, for ``work``: what is not counted is done by the store itself."""
        return cast("TaskStore", self)

    async def join(self, owner: str) -> None:
        """Note that the worker begins, perhaps anew; see TaskStore."""
        await self._store.join(owner)
        self._watches.clear()

    async def claim(self, owner: str, limit: int) -> list[StoredTask]:
        """Note what is given to the worker; see TaskStore."""
        tasks = await self._store.claim(owner, limit)
        self._watches.update(task.watch for task in tasks)
        return tasks

    async def dropped(self, owner: str) -> list[str]:
        """Note what was discarded; see TaskStore."""
        watches = await self._store.dropped(owner)
        self._watches.difference_update(watches)
        return watches

    async def record(self, owner: str, transitions: Sequence[Transition]) -> list[str]:
        """Note what has ended, or is not the worker's; see TaskStore."""
        refused = await self._store.record(owner, transitions)
        ended = (each.key[0] for each in transitions if each.key and each.is_final)
        self._watches.difference_update(refused, ended)
        return refused

    async def release(self, owner: str) -> None:
        """Note what was given back; see TaskStore."""
        await self._store.release(owner)
        self.given_back += len(self._watches)
        self._watches.clear()


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
            self._screen.complain(record.getMessage())
