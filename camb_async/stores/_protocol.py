"""What a store of watched tasks offers: to programs, to workers, to readers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from types import TracebackType
from typing import Any, Protocol, Self

from camb_async.errors import StoreError
from camb_async.models import TaskRef, Transition

from ._ledger import StoredTask


class UnknownOwnerError(StoreError):
    """A store knows a worker or reader no longer, and refuses what it wanted."""


class TaskStore(Protocol):
    """Where watched tasks and their transitions outlive the process.

    Programs call ``add``, ``discard``, ``watching`` and ``transitions``, and ``work``.
    The rest is what ``work`` and ``transitions`` call. A worker has a name of its own
    for each time that it runs, its *owner*; what is written by one that the store no
    longer knows is refused. Every method that fails raises a StoreError.
    """

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None: ...

    async def add(
        self,
        tasks: Iterable[TaskRef | str] | TaskRef | str,
        *,
        context: Any = None,
        deadline: float | None = 3600.0,
    ) -> int:
        """Have tasks watched; return how many are new."""
        ...

    async def discard(self, task: TaskRef | str) -> bool:
        """Forget a task and what is undelivered of it; return whether it was watched.

        Whoever holds it hears of that by ``dropped``.
        """
        ...

    async def watching(self) -> int:
        """Return how many tasks are watched."""
        ...

    def transitions(self, *, until_empty: bool = False) -> AsyncIterator[Transition]:
        """Return an iterator over what is recorded, at least once each."""
        ...

    # For workers.

    #: Seconds between the signs of life of a worker; None if none are needed.
    beat_every: float | None
    #: Seconds between two claims of a worker, at least, so that others get some.
    claim_every: float
    #: Seconds between two records of a worker, at least, unless many wait.
    record_every: float

    async def join(self, owner: str) -> None:
        """Make a worker known under a name that nobody had before."""
        ...

    async def claim(self, owner: str, limit: int) -> list[StoredTask]:
        """Give a worker tasks that nobody holds, as a rule the oldest first."""
        ...

    async def dropped(self, owner: str) -> list[str]:
        """Return the watches that a worker holds and that were discarded, once each."""
        ...

    async def record(self, owner: str, transitions: Sequence[Transition]) -> list[str]:
        """Write transitions down under their keys, each task's in order.

        A final one ends the watch in the same step. What is recorded already under
        its key is passed over, so the same call may be made again.

        Returns:
            The watches that are not, or no longer, the worker's. Of one that had not
            ended by an earlier call, nothing was recorded.
        """
        ...

    async def survived(self, owner: str, watches: Sequence[str]) -> bool:
        """Note that tasks which were taken over were polled, and the worker lives.

        Return whether the worker is still known, without which nothing is noted.

        A task that was claimed again and again without it is one that ends workers. It
        may be said of what others hold by now.
        """
        ...

    async def beat(self, owner: str) -> bool:
        """Give a sign of life; return whether the worker is still known."""
        ...

    async def release(self, owner: str) -> None:
        """Give back all that a worker holds, and forget the worker."""
        ...

    def tasks_changed(self) -> asyncio.Event:
        """Return an event for the next time that there may be news for a worker.

        Get it first, look then, and wait for it if there was nothing: so no news
        is missed. A store that is not told of all news sets it from time to time.
        """
        ...

    # For readers.

    async def deliver(self, limit: int) -> list[Transition]:
        """Hand out transitions that no other reader has, the oldest first."""
        ...

    async def ack(self, transitions: Sequence[Transition]) -> None:
        """Forget transitions that were handled."""
        ...

    def requeue(self, transitions: Sequence[Transition]) -> None:
        """Take back transitions that were handed out and not handled."""
        ...

    def transitions_changed(self) -> asyncio.Event:
        """Return an event for the next time that there may be news for a reader."""
        ...
