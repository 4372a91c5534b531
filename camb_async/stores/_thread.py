"""One thread for a database, and the jobs that it does in groups.

What is ordered while a transaction is written goes into the next one, all of it
together: so a busy store writes to the disk no more often than the disk allows.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import attrs

from ._signal import Signal


if TYPE_CHECKING:
    from ._database import Database


#: Jobs of one transaction, at the most.
GROUP = 250

_ReturnT = TypeVar("_ReturnT")


@attrs.frozen(eq=False)
class _Job:
    work: Callable[[Database], object]
    future: asyncio.Future[Any]
    news: tuple[Signal, ...]

    def settle(self, outcome: object) -> None:
        """Tell what came of it, also where whoever ordered it is gone."""
        if not isinstance(outcome, Exception):
            for signal in self.news:
                signal.fire()
        if self.future.done():
            return
        if isinstance(outcome, Exception):
            self.future.set_exception(outcome)
        else:
            self.future.set_result(outcome)


class DatabaseThread:
    """Does jobs in the order in which they come, each of them once it has come."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._loop = asyncio.get_running_loop()
        self._jobs: deque[_Job] = deque()
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="camb_async-store")
        self._database: Database | None = None

    async def open(self) -> None:
        """Open the database.

        Raises:
            StoreError: it cannot be opened; the thread is to be closed all the same.
        """
        await self._loop.run_in_executor(self._executor, self._open)

    async def close(self) -> None:
        """Do what is ordered, and close the database."""
        try:
            await self._loop.run_in_executor(self._executor, self._close)
        finally:
            self._executor.shutdown(wait=False)

    async def do(self, work: Callable[[Database], _ReturnT], *news: Signal) -> _ReturnT:
        """Have a job done, also if the caller is cancelled meanwhile.

        Args:
            work: what to do; on failure it may be done again.
            news: what to fire once it is done.
        """
        job = _Job(work, self._loop.create_future(), news)
        self._jobs.append(job)
        self._executor.submit(self._work_off)
        return cast("_ReturnT", await job.future)

    def _open(self) -> None:
        # Here, so that who needs no store does not load SQLite.
        from ._database import Database  # noqa: PLC0415

        self._database = Database(self._path)

    def _close(self) -> None:
        if self._database is not None:
            self._database.close()

    def _work_off(self) -> None:
        # Each job orders this, and the first one does them all.
        jobs = [self._jobs.popleft() for _ in range(min(GROUP, len(self._jobs)))]
        if jobs and self._database is not None:
            outcomes = self._database.commit([job.work for job in jobs])
            self._loop.call_soon_threadsafe(_settle, jobs, outcomes)


def _settle(jobs: Sequence[_Job], outcomes: Sequence[object]) -> None:
    for job, outcome in zip(jobs, outcomes, strict=True):
        job.settle(outcome)
