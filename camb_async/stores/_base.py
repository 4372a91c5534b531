"""What programs call of a store, checked before the store is asked."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

from camb_async._tracking import check_deadline
from camb_async.models import TaskRef, Transition

from ._forms import context_text
from ._protocol import TaskStore
from ._reading import StoredTransitions
from ._signal import Signal


class BaseStore(TaskStore):
    """What is the same in every store of ours."""

    _tasks_changed: Signal
    _transitions_changed: Signal

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
            StoreError: the store is not open, or could not be written. To add all of
                them again is safe.
        """
        given = [tasks] if isinstance(tasks, str | TaskRef) else tasks
        refs = [TaskRef.of(task) for task in given]
        seconds = check_deadline(deadline)
        return await self._add(refs, context_text(context), seconds)

    async def discard(self, task: TaskRef | str) -> bool:
        """Stop watching a task and drop what is undelivered of it.

        The remote task is left alone.

        Returns:
            Whether it was watched.

        Raises:
            InvalidTaskIdError: it is not a task id.
            StoreError: the store is not open, or could not be written.
        """
        return await self._discard(TaskRef.of(task))

    def transitions(self, *, until_empty: bool = False) -> AsyncIterator[Transition]:
        """Return an iterator over the transitions, for one loop at a time.

        Each is delivered at least once, in order per task as far as one reader goes.
        It is acknowledged, and then forgotten, when the loop comes back for the next
        one. What was not acknowledged is delivered again: to another loop once this
        iterator is dropped, to another process once this one is gone. Several
        iterators share what there is.

        A loop may be left with ``break`` and taken up again with the same iterator.

        Args:
            until_empty: whether to end once no task is watched and there is nothing
                left to hand out; otherwise it waits for more. What another process
                was handed out is not waited for.

        Raises:
            StoreError: on the way: the store is not open, or cannot be read, and to
                try again would not help.
        """
        return StoredTransitions(self, until_empty=until_empty)

    def tasks_changed(self) -> asyncio.Event:
        """Return an event for news for workers; see TaskStore."""
        return self._tasks_changed.next()

    def transitions_changed(self) -> asyncio.Event:
        """Return an event for news for readers; see TaskStore."""
        return self._transitions_changed.next()

    @abstractmethod
    async def _add(
        self, refs: Sequence[TaskRef], context: str, seconds: float | None
    ) -> int: ...

    @abstractmethod
    async def _discard(self, task: TaskRef) -> bool: ...
