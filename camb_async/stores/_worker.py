"""Watch what a store holds: an ordinary watcher between claims and records."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from functools import partial
from uuid import uuid4

import anyio

from camb_async._tracking import SESSION_WIDE
from camb_async._watch import StatusSource
from camb_async.errors import StoreError, WatcherClosedError
from camb_async.models import TaskRef, Transition
from camb_async.schedules import PollSchedule
from camb_async.watcher import TaskWatcher

from ._insisting import Insisting, to_the_end
from ._ledger import Ledger, StoredTask
from ._protocol import TaskStore


logger = logging.getLogger("camb_async")

#: Rows of one claim, and of one record.
BATCH = 250
#: Seconds between two looks at whether what was taken over has been polled.
VOUCH_EVERY = 0.25
#: Seconds for each of the last two calls, where the store does not answer.
LEAVE_WITHIN = 5.0


async def work(
    camb: StatusSource,
    store: TaskStore,
    *,
    capacity: int = 2000,
    until_empty: bool = False,
    schedule: PollSchedule | None = None,
    observe: Callable[[TaskWatcher], object] | None = None,
) -> None:
    """Watch the tasks of a store, and record their transitions there.

    Runs until it is cancelled, and then gives back what it holds: what was seen is
    recorded, and the next worker goes on from there. Tasks that are added meanwhile
    are taken up at once. While the store fails, for want of room on the disk say, the
    tasks are polled on, and the store is tried again.

    An error that is one of the session and says nothing about a task, such as a
    refused key, ends the work and no task: it is raised, and all tasks stay watched.

    Args:
        camb: what to ask, usually a CambSession.
        store: an open store.
        capacity: how many tasks are held at the most.
        until_empty: whether to return once there is nothing left to watch.
        schedule: when to poll; the session's own by default.
        observe: called in the beginning with the watcher that does the work, for a
            look at ``stats()``, ``watched()`` or ``eta(...)`` now and then; tasks
            come and go by the store only.

    Raises:
        AuthenticationError: the key was refused; the tasks stay in the store.
        ConfigurationError: the key cannot be used; likewise.
        SessionClosedError: the session is not open; likewise.
        StoreError: the store cannot be used, and trying again would not help.
        ValueError: the capacity is below 1.
    """
    if capacity < 1:
        message = f"capacity must be at least 1, not {capacity!r}"
        raise ValueError(message)
    watcher = TaskWatcher(camb, schedule=schedule, deadline=None, keep_open=True)
    worker = _Worker(store, watcher, capacity, until_empty=until_empty)
    await worker.run(observe)


class _Worker:
    """Holds tasks under an owner's name that is its own, and nobody's after it."""

    def __init__(
        self,
        store: TaskStore,
        watcher: TaskWatcher,
        capacity: int,
        *,
        until_empty: bool,
    ) -> None:
        self._store = store
        self._watcher = watcher
        self._capacity = capacity
        self._until_empty = until_empty
        self._owner = uuid4().hex
        self._ledger = Ledger()
        self._unrecorded: list[Transition] = []
        #: Watches that were polled, and were not ours any more; since the last beat.
        self._refused: list[str] = []
        #: Of an earlier name: those that were polled then, which is to be told.
        self._survivors = set[str]()
        self._refusal: Exception | None = None
        self._news = asyncio.Event()
        self._more = True
        self._in_doubt = asyncio.Event()
        self._insist = Insisting()

    async def run(self, observe: Callable[[TaskWatcher], object] | None) -> None:
        """Work until there is nothing left, or until cancelled, and leave in order."""
        try:
            await self._insist(lambda: self._store.join(self._owner))
            async with self._watcher as watcher, anyio.create_task_group() as group:
                if observe is not None:
                    observe(watcher)
                group.start_soon(self._hear)
                group.start_soon(self._claim)
                group.start_soon(self._vouch)
                group.start_soon(self._beat)
                await self._record()
                group.cancel_scope.cancel()
        except BaseExceptionGroup as errors:
            # One cause is not worth a group.
            raise errors.exceptions[0] from None
        finally:
            await to_the_end(self._leave())
        if self._refusal is not None:
            raise self._refusal

    async def _hear(self) -> None:
        while True:
            await self._store.tasks_changed().wait()
            self._more = True
            self._news.set()

    async def _claim(self) -> None:
        while True:
            self._news.clear()
            for watch in await self._insist(lambda: self._store.dropped(self._owner)):
                self._drop(watch)
            room = min(BATCH, self._capacity - len(self._ledger))
            if room and self._more:
                # Where nothing was left, it is of no use to ask before news.
                self._more = False
                self._more = await self._take_up_to(room) or self._more
                await anyio.sleep(self._store.claim_every)
                continue
            if await self._is_all_over():
                self._watcher.close()
                return
            await self._news.wait()

    async def _take_up_to(self, room: int) -> bool:
        tasks = await self._insist(partial(self._store.claim, self._owner, room))
        for task in tasks:
            self._take(task)
        return bool(tasks)

    async def _is_all_over(self) -> bool:
        if not self._until_empty or self._ledger:
            return False
        return not await self._insist(self._store.watching)

    def _take(self, task: StoredTask) -> None:
        now = time.time()
        self._ledger.take(task, now)
        # It may have been discarded and added again since the last look.
        self._watcher.discard(task.task)
        self._watcher.add(
            task.task,
            context=task.context,
            deadline=task.seconds_left(now),
            last_state=task.last_state,
        )

    def _drop(self, watch: str) -> None:
        task = self._ledger.drop(watch)
        if task is not None:
            self._watcher.discard(task)

    async def _record(self) -> None:
        while self._refusal is None:
            try:
                batch = await self._watcher.next_batch(BATCH)
            except StopAsyncIteration:
                return
            self._enter(batch)
            await self._insist(self._write_down)
            # There may be room now, or nothing left.
            self._news.set()
            if len(batch) < BATCH:
                await anyio.sleep(self._store.record_every)

    def _enter(self, transitions: list[Transition]) -> None:
        for transition in transitions:
            if isinstance(transition.error, SESSION_WIDE):
                self._refusal = transition.error
                continue
            entered = self._ledger.enter(transition)
            if entered is not None:
                self._unrecorded.append(entered)

    async def _write_down(self) -> None:
        while batch := self._unrecorded[:BATCH]:
            refused = await self._store.record(self._owner, batch)
            del self._unrecorded[: len(batch)]
            if refused:
                self._refused += refused
                self._in_doubt.set()
            for watch in refused:
                self._drop(watch)

    async def _vouch(self) -> None:
        """Tell the store which tasks, though taken over, do not end their worker."""
        while True:
            await anyio.sleep(VOUCH_EVERY)
            await self._insist(self._vouch_for_polled)

    async def _vouch_for_polled(self) -> None:
        polled = [*self._survivors, *self._polled(self._ledger.unproven())]
        if not polled:
            return
        if not await self._store.survived(self._owner, polled):
            self._in_doubt.set()
            return
        self._survivors.difference_update(polled)
        self._ledger.proved(polled)
        # Until now the store may have kept others back.
        self._more = True
        self._news.set()

    def _polled(self, held: list[tuple[str, TaskRef]]) -> list[str]:
        standings = ((watch, self._watcher.get(task)) for watch, task in held)
        return [watch for watch, each in standings if each is not None and each.polls]

    async def _beat(self) -> None:
        while self._store.beat_every is not None:
            with anyio.move_on_after(self._store.beat_every):
                await self._in_doubt.wait()
            self._in_doubt.clear()
            if not await self._insist(lambda: self._store.beat(self._owner)):
                await self._begin_anew()
            self._refused.clear()

    async def _begin_anew(self) -> None:
        """Take another name: the store has given what was held to others."""
        logger.warning("The store has given up this worker, which begins anew.")
        # Otherwise whoever is given up now and then would make suspects of them.
        self._survivors.update(self._refused, self._polled(self._ledger.held()))
        for task in self._ledger.clear():
            self._watcher.discard(task)
        # What was seen under the old name is told by whoever holds the task now: it
        # would not fit the numbers of one that is given to us again.
        self._unrecorded.clear()
        self._owner = uuid4().hex
        await self._insist(lambda: self._store.join(self._owner))
        self._more = True
        self._news.set()

    async def _leave(self) -> None:
        # The watcher's block is left, so what is unread comes without waiting.
        try:
            while True:
                self._enter(await self._watcher.next_batch(BATCH))
        except (StopAsyncIteration, WatcherClosedError):
            pass
        for call in (self._write_down, lambda: self._store.release(self._owner)):
            try:
                async with asyncio.timeout(LEAVE_WITHIN):
                    await call()
            except (StoreError, TimeoutError) as error:
                logger.warning("The store could not be told all by a worker: %s", error)
