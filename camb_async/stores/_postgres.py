"""The store for a fleet: a PostgreSQL server that any number of processes share."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import random
import socket
import time
from collections.abc import Sequence
from math import inf
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self
from uuid import uuid4

import attrs

from camb_async.errors import StoreError
from camb_async.models import TaskRef, Transition

from ._base import BaseStore
from ._insisting import to_the_end
from ._leased_reader import LeasedReader
from ._ledger import StoredTask
from ._records import columns, stored_task
from ._signal import Signal
from ._statements import (
    ADD,
    BEAT,
    CLAIM,
    CLAIMED,
    DISCARD,
    DROPPED,
    END_TURN,
    JOIN,
    REAP,
    RECORD,
    RELEASE,
    SURVIVED,
    UNDELIVERED,
    WATCHING,
)


if TYPE_CHECKING:
    from ._server import Server


logger = logging.getLogger("camb_async")

#: Tasks of one statement.
_ADD_BATCH: Final = 5000
#: Every so many claims of a worker, a suspect goes first, if there is one.
_SUSPECT_EVERY: Final = 4
#: Seconds between two looks for dead workers, about.
_REAP_EVERY: Final = 1.0
#: As often as that, look for news that nobody told of.
_LOOK_EVERY: Final = 2
#: Seconds between two times that signals fire for the same channel, at least.
_FIRE_EVERY: Final = 0.25
#: Seconds for the last statements, where the server does not answer.
_LEAVE_WITHIN: Final = 5.0

_PARKED: Final = (
    "Task %s has ended %s workers, or was there when they ended, and is given to no "
    "other. Find out why, and add it again."
)


class PostgresStore(BaseStore):
    """Watched tasks and their transitions in PostgreSQL. Use it as ``async with``.

    Any number of processes share the tasks: each is watched by one worker at a time.
    A worker has a lease that it renews; when it dies or hangs, the lease ends and
    others take up its tasks. The tables are made on entering, if they are not there.

    While the server is away, workers poll on and readers wait; calls of ``add`` and
    ``discard`` raise a StoreError that is ``retryable``.

    It needs asyncpg: ``pip install "camb-async[postgres]"``. Its DSN may name several
    hosts, with ``target_session_attrs=read-write`` for the one that can be written;
    behind a PgBouncer that pools transactions, say ``pgbouncer=true`` in it.

    Args:
        dsn: ``postgresql://user:password@host:5432/database``. It is never shown.
        lease: seconds after which a worker or reader that has given no sign of life
            loses what it holds; a third of it lies between two signs.

    Raises:
        StoreError: on entering: asyncpg is not installed, the server cannot be
            reached or used, or its tables are of a newer version.
        ValueError: the lease is not above zero, or endless.
    """

    beat_every: float | None
    claim_every: float = 0.05
    record_every: float = 0.25

    def __init__(self, dsn: str, *, lease: float = 30.0) -> None:
        if not 0 < lease < inf:
            message = f"lease must be finite seconds above 0, not {lease!r}"
            raise ValueError(message)
        self._dsn: Final = dsn
        self._lease: Final = lease
        self.beat_every = lease / 3
        #: By which people tell the processes apart, in the tables.
        self._name: Final = f"{socket.gethostname()} {os.getpid()}"
        self._server: Server | None = None
        self._entered = False
        self._start_over()

    def _start_over(self) -> None:
        self._tasks_changed = Signal()
        self._transitions_changed = Signal()
        self._reader: LeasedReader | None = None
        self._owners: dict[str, _Owner] = {}
        self._may_fire: dict[str, float] = {}
        self._keepers: list[asyncio.Task[None]] = []

    def __repr__(self) -> str:
        return f"<PostgresStore {'closed' if self._server is None else 'open'}>"

    async def __aenter__(self) -> Self:
        if self._entered:
            message = "The store is open already: make a second one, or share it."
            raise StoreError(message)
        server = _opened(self._dsn)
        self._entered = True
        self._start_over()
        try:
            await server.make_tables()
        except BaseException:
            self._entered = False
            await to_the_end(server.close())
            raise
        self._server = server
        keepers = (
            self._keep(),
            server.listen(("camb_task", "camb_dropped", "camb_event"), self._fire_soon),
        )
        self._keepers = [asyncio.ensure_future(keeper) for keeper in keepers]
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await to_the_end(self._leave())

    async def watching(self) -> int:
        """Return how many tasks are watched: added, and not ended.

        Raises:
            StoreError: the store is not open, or could not be read.
        """
        [row] = await self._fetch(WATCHING)
        return int(row["watching"])

    # For workers.

    async def join(self, owner: str) -> None:
        """Make a worker known; see TaskStore."""
        await self._fetch(JOIN, owner, self._name, self._lease)
        self._owners.setdefault(owner, _Owner())

    async def claim(self, owner: str, limit: int) -> list[StoredTask]:
        """Give a worker tasks that nobody holds; see TaskStore."""
        known = self._owners.get(owner)
        if known is None:
            return []
        rows: Sequence[Any] = ()
        if known.answer_lost:
            # What was claimed by it may be ours all the same.
            await self._fetch(END_TURN, owner, known.turn)
            rows = await self._fetch(CLAIMED, owner, known.turn)
        if not rows:
            known.turn += 1
            known.answer_lost = True
            suspect_first = not known.turn % _SUSPECT_EVERY
            # A dead worker gets nothing; its next sign of life tells it why.
            rows = await self._fetch(CLAIM, owner, limit, known.turn, suspect_first)
        now = time.time()
        tasks = [stored_task(row, now) for row in rows]
        known.answer_lost = False
        return tasks

    async def dropped(self, owner: str) -> list[str]:
        """Return what a worker holds and was discarded; see TaskStore."""
        known = self._owners.get(owner)
        if known is None:
            return []
        if known.is_to_look:
            known.is_to_look = False
            try:
                rows = await self._fetch(DROPPED, owner, known.heard)
            except StoreError:
                known.is_to_look = True
                raise
            known.hear([row["watch"].hex for row in rows])
        dropped, known.dropped = known.dropped, []
        return dropped

    async def record(self, owner: str, transitions: Sequence[Transition]) -> list[str]:
        """Write transitions down; see TaskStore."""
        if not transitions:
            return []
        rows = await self._fetch(RECORD, owner, *columns(transitions, time.time()))
        held = {row["watch"].hex for row in rows}
        self._fire_soon("camb_event")
        watches = dict.fromkeys(each.key[0] for each in transitions if each.key)
        return [watch for watch in watches if watch not in held]

    async def survived(self, owner: str, watches: Sequence[str]) -> bool:
        """Note that tasks do not end their worker; see TaskStore."""
        [row] = await self._fetch(SURVIVED, owner, watches)
        return bool(row["alive"])

    async def beat(self, owner: str) -> bool:
        """Give a sign of life; see TaskStore."""
        known = self._owners.get(owner)
        heard = [] if known is None else known.heard
        [row] = await self._fetch(BEAT, owner, heard, self._lease)
        if known is not None:
            known.hear([watch.hex for watch in row["dropped"]])
        if row["dropped"]:
            self._tasks_changed.fire()
        if not row["alive"]:
            self._owners.pop(owner, None)
        return bool(row["alive"])

    async def release(self, owner: str) -> None:
        """Give back what a worker holds; see TaskStore."""
        await self._fetch(RELEASE, owner)
        self._owners.pop(owner, None)
        self._tasks_changed.fire()

    # For readers.

    async def deliver(self, limit: int) -> list[Transition]:
        """Hand out transitions; see TaskStore."""
        return await self._open_reader.delivery.take(limit)

    async def ack(self, transitions: Sequence[Transition]) -> None:
        """Forget transitions; see TaskStore."""
        self._open_reader.ack(each.key for each in transitions if each.key)

    def requeue(self, transitions: Sequence[Transition]) -> None:
        """Take transitions back; see TaskStore."""
        if self._reader is not None:
            self._reader.delivery.requeue(transitions)
        self._transitions_changed.fire()

    async def _add(
        self, refs: Sequence[TaskRef], context: str, seconds: float | None
    ) -> int:
        added = 0
        for start in range(0, len(refs), _ADD_BATCH):
            batch = refs[start : start + _ADD_BATCH]
            [row] = await self._fetch(
                ADD,
                [uuid4().hex for _ in batch],
                [ref.kind.value for ref in batch],
                [ref.task_id for ref in batch],
                [ref.created_at for ref in batch],
                context,
                seconds,
            )
            added += row["added"]
        self._tasks_changed.fire()
        return added

    async def _discard(self, task: TaskRef) -> bool:
        [row] = await self._fetch(DISCARD, task.kind.value, task.task_id)
        watch = row["watch"]
        if watch is not None:
            await self._fetch(UNDELIVERED, watch)
        if self._reader is not None:
            self._reader.delivery.forget(task)
        self._fire("camb_dropped")
        self._transitions_changed.fire()
        return watch is not None

    @property
    def _open_server(self) -> Server:
        if self._server is None:
            message = "The store is not open: async with PostgresStore(...)."
            raise StoreError(message)
        return self._server

    @property
    def _open_reader(self) -> LeasedReader:
        server = self._open_server
        if self._reader is None:
            self._reader = LeasedReader(server, self._name, self._lease)
            for keeper in (self._reader.tell(), self._reader.live()):
                self._keepers.append(asyncio.ensure_future(keeper))
        return self._reader

    async def _fetch(self, statement: str, *arguments: object) -> Sequence[Any]:
        return await self._open_server.fetch(statement, *arguments)

    def _fire_soon(self, channel: str) -> None:
        """Wake whoever waits for such news, but not without a pause since the last."""
        loop = asyncio.get_running_loop()
        earliest = self._may_fire.get(channel, 0.0)
        # It is later than that only while it is to fire already.
        if earliest <= loop.time() + _FIRE_EVERY:
            at = max(earliest, loop.time())
            self._may_fire[channel] = at + _FIRE_EVERY
            loop.call_at(at, self._fire, channel)

    def _fire(self, channel: str) -> None:
        if channel == "camb_event":
            self._transitions_changed.fire()
            return
        if channel == "camb_dropped":
            for owner in self._owners.values():
                owner.is_to_look = True
        self._tasks_changed.fire()

    async def _keep(self) -> None:
        """Look for dead workers and for news."""
        for number in itertools.count(1):
            await asyncio.sleep(_REAP_EVERY * random.uniform(0.7, 1.3))
            with contextlib.suppress(StoreError):
                if self._owners or self._reader is not None:
                    await self._fetch(REAP, _PARKED)
            if not number % _LOOK_EVERY:
                self._tasks_changed.fire()
                self._transitions_changed.fire()

    async def _leave(self) -> None:
        server, self._server = self._open_server, None
        # Whoever waits for news is told that there will be none.
        self._tasks_changed.fire()
        self._transitions_changed.fire()
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.wait(self._keepers)
        try:
            async with asyncio.timeout(_LEAVE_WITHIN):
                if self._reader is not None:
                    await self._reader.leave()
        except (StoreError, TimeoutError) as error:
            logger.warning("The store could not be told all by a reader: %s", error)
        finally:
            await server.close()
            self._entered = False


@attrs.define(eq=False)
class _Owner:
    """What the store keeps of a worker of this process."""

    turn: int = 0
    answer_lost: bool = False
    is_to_look: bool = True
    dropped: list[str] = attrs.field(factory=list[str])
    #: What the database may forget, once it is told.
    heard: list[str] = attrs.field(factory=list[str])

    def hear(self, dropped: list[str]) -> None:
        """Take note of what was dropped."""
        self.dropped += dropped
        self.heard = dropped


def _opened(dsn: str) -> Server:
    try:
        # Here, so that who needs no server needs no asyncpg.
        from ._server import Server  # noqa: PLC0415
    except ImportError as error:
        message = 'PostgresStore needs asyncpg: pip install "camb-async[postgres]"'
        raise StoreError(message) from error
    return Server(dsn)
