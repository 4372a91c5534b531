"""The store for one machine: a file of SQLite."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self, TypeVar
from uuid import uuid4

from camb_async.errors import StoreError
from camb_async.models import TaskRef, Transition

from ._base import BaseStore
from ._delivery import READ_AHEAD, Delivery
from ._insisting import to_the_end
from ._ledger import StoredTask
from ._signal import Signal
from ._thread import DatabaseThread


if TYPE_CHECKING:
    from ._database import Database


_ReturnT = TypeVar("_ReturnT")


class SqliteStore(BaseStore):
    """Watched tasks and their transitions in a file. Use it as ``async with``.

    What a call has returned from is on the disk, and outlasts a crash and a power
    cut. A file is for one process at a time, and that for any number of workers and
    readers; a second process is refused. The first process may be dead: nothing has
    to be cleaned up.

    SQLite runs in a thread of its own, so that the event loop never waits for the
    disk. Beside the file there are others with its name and ``-wal``, ``-shm`` and
    ``.lock`` behind it.

    Args:
        path: the file; it is made if it is not there, its directory is not.

    Raises:
        StoreError: on entering: the file is held by another process, is damaged, is
            none of ours, or of a newer version. Later: it cannot be written.
    """

    #: A worker cannot die without its store.
    beat_every: float | None = None
    claim_every: float = 0.0
    record_every: float = 0.02

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path: Final = Path(path)
        self._thread: DatabaseThread | None = None
        self._entered = False
        self._start_over()

    def _start_over(self) -> None:
        self._tasks_changed = Signal()
        self._transitions_changed = Signal()
        self._delivery = Delivery(self._read_on)
        self._last_read = 0

    def __repr__(self) -> str:
        state = "closed" if self._thread is None else "open"
        return f"<SqliteStore {state}, {self._path}>"

    async def __aenter__(self) -> Self:
        if self._entered:
            message = f"{self._path} is open already: make a second store, or share it."
            raise StoreError(message)
        self._entered = True
        self._start_over()
        thread = DatabaseThread(self._path)
        try:
            await to_the_end(thread.open())
        except BaseException:
            await self._leave(thread)
            raise
        self._thread = thread
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        thread, self._thread = self._thread, None
        assert thread is not None  # noqa: S101 - inside the block
        # Whoever waits for news is told that there will be none.
        self._tasks_changed.fire()
        self._transitions_changed.fire()
        await self._leave(thread)

    async def watching(self) -> int:
        """Return how many tasks are watched: added, and not ended.

        Raises:
            StoreError: the store is not open, or could not be read.
        """
        return await self._do(lambda file: file.watching())

    # For workers.

    async def join(self, owner: str) -> None:
        """Make a worker known; see TaskStore."""
        await self._do(lambda file: file.join(owner))

    async def claim(self, owner: str, limit: int) -> list[StoredTask]:
        """Give a worker tasks that nobody holds; see TaskStore."""
        return await self._do(lambda file: file.claim(owner, limit))

    async def dropped(self, owner: str) -> list[str]:
        """Return what a worker holds and was discarded; see TaskStore."""
        return await self._do(lambda file: file.dropped(owner))

    async def record(self, owner: str, transitions: Sequence[Transition]) -> list[str]:
        """Write transitions down; see TaskStore."""
        news = [self._transitions_changed]
        if any(transition.is_final for transition in transitions):
            # Whoever waits for the last one wants to know.
            news.append(self._tasks_changed)
        return await self._do(lambda file: file.record(owner, transitions), *news)

    async def survived(self, owner: str, watches: Sequence[str]) -> bool:
        """Return whether a worker is known: what ends one here ends all of them."""
        del watches
        return await self.beat(owner)

    async def beat(self, owner: str) -> bool:
        """Return whether a worker is known; see TaskStore."""
        return await self._do(lambda file: file.knows(owner))

    async def release(self, owner: str) -> None:
        """Give back what a worker holds; see TaskStore."""
        await self._do(lambda file: file.release(owner), self._tasks_changed)

    # For readers.

    async def deliver(self, limit: int) -> list[Transition]:
        """Hand out transitions; see TaskStore."""
        return await self._delivery.take(limit)

    async def ack(self, transitions: Sequence[Transition]) -> None:
        """Forget transitions; see TaskStore."""
        keys = [transition.key for transition in transitions if transition.key]
        await self._do(lambda file: file.ack(keys))
        self._delivery.done(keys)

    def requeue(self, transitions: Sequence[Transition]) -> None:
        """Take transitions back; see TaskStore."""
        self._delivery.requeue(transitions)
        self._transitions_changed.fire()

    async def _add(
        self, refs: Sequence[TaskRef], context: str, seconds: float | None
    ) -> int:
        now = time.time()
        end = None if seconds is None else now + seconds
        rows = [(uuid4().hex, ref, context, now, end) for ref in refs]
        return await self._do(lambda file: file.add(rows), self._tasks_changed)

    async def _discard(self, task: TaskRef) -> bool:
        watched = await self._do(
            lambda file: file.discard(task),
            self._tasks_changed,
            self._transitions_changed,
        )
        self._delivery.forget(task)
        return watched

    async def _read_on(self) -> list[Transition]:
        last = self._last_read
        read = await self._do(lambda file: file.events_after(last, READ_AHEAD))
        self._last_read = read[-1][0] if read else last
        return [transition for _, transition in read]

    async def _do(self, job: Callable[[Database], _ReturnT], *news: Signal) -> _ReturnT:
        if self._thread is None:
            message = f"The store is not open: async with SqliteStore({self._path!r})."
            raise StoreError(message)
        return await self._thread.do(job, *news)

    async def _leave(self, thread: DatabaseThread) -> None:
        try:
            await to_the_end(thread.close())
        finally:
            self._entered = False
