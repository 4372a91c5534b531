"""The store for one machine: a file of SQLite."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar
from uuid import uuid4

from camb_async.errors import StoreError
from camb_async.models import TaskRef, Transition

from ._delivery import READ_AHEAD, Delivery
from ._forms import context_text
from ._ledger import StoredTask, deadline_at
from ._reading import StoredTransitions
from ._signal import Signal
from ._thread import DatabaseThread
from ._worker import to_the_end


if TYPE_CHECKING:
    from ._database import Database


_ReturnT = TypeVar("_ReturnT")


class SqliteStore:
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

    async def add(
        self,
        tasks: Iterable[TaskRef | str] | TaskRef | str,
        *,
        context: Any = None,
        deadline: float | None = 3600.0,
    ) -> int:
        """Have tasks watched. Of those that are watched already nothing changes.

        Args:
            tasks: TaskRefs, or ids of text-to-voice tasks; or just one of them.
            context: handed back on each of their transitions; it must be JSON.
            deadline: seconds from now after which their watch ends, whether anybody
                watches or not; None for no limit.

        Returns:
            How many are watched that were not. A task that has ended may be added
            again, and is another watch then.

        Raises:
            InvalidTaskIdError: one is not a task id; none is added.
            ValueError: the context is not JSON, or the deadline is negative or not a
                number; likewise.
            StoreError: the store is not open, or could not be written.
        """
        given = [tasks] if isinstance(tasks, str | TaskRef) else tasks
        refs = [TaskRef.of(task) for task in given]
        text = context_text(context)
        now = time.time()
        end = deadline_at(deadline, now)
        rows = [(uuid4().hex, ref, text, now, end) for ref in refs]
        return await self._do(lambda file: file.add(rows), self._tasks_changed)

    async def discard(self, task: TaskRef | str) -> bool:
        """Stop watching a task and drop what is undelivered of it.

        The remote task is left alone.

        Returns:
            Whether it was watched.

        Raises:
            InvalidTaskIdError: it is not a task id.
            StoreError: the store is not open, or could not be written.
        """
        ref = TaskRef.of(task)
        watched = await self._do(
            lambda file: file.discard(ref),
            self._tasks_changed,
            self._transitions_changed,
        )
        self._delivery.forget(ref)
        return watched

    async def watching(self) -> int:
        """Return how many tasks are watched: added, and not ended.

        Raises:
            StoreError: the store is not open, or could not be read.
        """
        return await self._do(lambda file: file.watching())

    def transitions(self, *, until_empty: bool = False) -> AsyncIterator[Transition]:
        """Return an iterator over the transitions, for one loop at a time.

        Each is delivered at least once, in order per task. It is acknowledged, and
        then forgotten, when the loop comes back for the next one. What was not
        acknowledged is delivered again: to another loop once this iterator is
        dropped, or after a restart. Several iterators share what there is.

        A loop may be left with ``break`` and taken up again with the same iterator.

        Args:
            until_empty: whether to end once no task is watched and there is nothing
                left to hand out; otherwise it waits for more.
        """
        return StoredTransitions(self, until_empty=until_empty)

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

    async def survived(self, owner: str, watches: Sequence[str]) -> None:
        """Do nothing: what ends this process ends all of its workers."""

    async def beat(self, owner: str) -> bool:
        """Return whether a worker is known; see TaskStore."""
        return await self._do(lambda file: file.knows(owner))

    async def release(self, owner: str) -> None:
        """Give back what a worker holds; see TaskStore."""
        await self._do(lambda file: file.release(owner), self._tasks_changed)

    def tasks_changed(self) -> asyncio.Event:
        """Return an event for news for workers; see TaskStore."""
        return self._tasks_changed.next()

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

    def transitions_changed(self) -> asyncio.Event:
        """Return an event for news for readers; see TaskStore."""
        return self._transitions_changed.next()

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
