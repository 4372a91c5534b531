"""A store in memory: what a TaskStore promises, in a few dicts.

It is for one process and ends with it, and shows what a store of one's own needs.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from itertools import islice
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

import attrs

from camb_async import StoredTask, TaskRef, Transition
from camb_async.stores._reading import StoredTransitions


Key = tuple[str, int]


@attrs.define
class _Held:
    stored: StoredTask
    owner: str | None = None


class MemoryStore:
    """Watched tasks and their transitions, as long as this object lives.

    It may be left and entered again, which is the death of its workers and readers.
    """

    beat_every: float | None = None
    claim_every: float = 0.0
    record_every: float = 0.0

    def __init__(self) -> None:
        self._watches: dict[str, _Held] = {}
        #: What each worker is to hear of; whoever is not in it is not known.
        self._dropped: dict[str, list[str]] = {}
        self._events: dict[Key, Transition] = {}
        self._handed_out: set[Key] = set()
        self._news = asyncio.Event()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for owner in list(self._dropped):
            await self.release(owner)
        self._handed_out.clear()

    async def add(
        self,
        tasks: Iterable[TaskRef | str] | TaskRef | str,
        *,
        context: Any = None,
        deadline: float | None = 3600.0,
    ) -> int:
        """Have tasks watched; see TaskStore."""
        given = [tasks] if isinstance(tasks, str | TaskRef) else tasks
        refs = dict.fromkeys(TaskRef.of(task) for task in given)
        now = time.time()
        end = None if deadline is None else now + deadline
        new = refs.keys() - {held.stored.task for held in self._watches.values()}
        for ref in (ref for ref in refs if ref in new):
            watch = uuid4().hex
            stored = StoredTask(
                watch=watch, task=ref, context=context, added=now, deadline_at=end
            )
            self._watches[watch] = _Held(stored)
        self._tell()
        return len(new)

    async def discard(self, task: TaskRef | str) -> bool:
        """Forget a task; see TaskStore."""
        ref = TaskRef.of(task)
        self._events = {k: t for k, t in self._events.items() if t.task != ref}
        found = [w for w, held in self._watches.items() if held.stored.task == ref]
        for watch in found:
            owner = self._watches.pop(watch).owner
            if owner is not None:
                self._dropped[owner].append(watch)
        self._tell()
        return bool(found)

    async def watching(self) -> int:
        """Return how many tasks are watched."""
        return len(self._watches)

    def transitions(self, *, until_empty: bool = False) -> AsyncIterator[Transition]:
        """Return an iterator over the transitions; see TaskStore."""
        return StoredTransitions(self, until_empty=until_empty)

    # For workers.

    async def join(self, owner: str) -> None:
        """Make a worker known; see TaskStore."""
        self._dropped.setdefault(owner, [])

    async def claim(self, owner: str, limit: int) -> list[StoredTask]:
        """Give a worker tasks that nobody holds; see TaskStore."""
        if owner not in self._dropped:
            return []
        free = (held for held in self._watches.values() if held.owner is None)
        claimed = list(islice(free, limit))
        for held in claimed:
            held.owner = owner
        return [held.stored for held in claimed]

    async def dropped(self, owner: str) -> list[str]:
        """Return what a worker holds and was discarded; see TaskStore."""
        dropped = self._dropped.get(owner, [])
        told = dropped.copy()
        dropped.clear()
        return told

    async def record(self, owner: str, transitions: Sequence[Transition]) -> list[str]:
        """Write transitions down; see TaskStore."""
        refused: dict[str, None] = {}
        for transition in transitions:
            watch, seq = transition.key or ("", 0)
            held = self._watches.get(watch)
            if held is None or held.owner != owner:
                refused[watch] = None
            elif seq == held.stored.seq + 1:
                self._write_down(held, watch, seq, transition)
        self._tell()
        return list(refused)

    def _write_down(self, held: _Held, watch: str, seq: int, t: Transition) -> None:
        self._events[watch, seq] = t
        held.stored = attrs.evolve(
            held.stored,
            last_state=t.state,
            last_at=t.at.timestamp(),
            polls=t.polls,
            seq=seq,
        )
        if t.is_final:
            del self._watches[watch]

    async def survived(self, owner: str, watches: Sequence[str]) -> bool:
        """Return whether a worker is known: what ends one here ends all of them."""
        del watches
        return await self.beat(owner)

    async def beat(self, owner: str) -> bool:
        """Return whether a worker is known; see TaskStore."""
        return owner in self._dropped

    async def release(self, owner: str) -> None:
        """Give back what a worker holds; see TaskStore."""
        self._dropped.pop(owner, None)
        for held in self._watches.values():
            if held.owner == owner:
                held.owner = None
        self._tell()

    def tasks_changed(self) -> asyncio.Event:
        """Return an event for news for workers; see TaskStore."""
        return self._news

    # For readers.

    async def deliver(self, limit: int) -> list[Transition]:
        """Hand out transitions; see TaskStore."""
        waiting = (key for key in self._events if key not in self._handed_out)
        keys = list(islice(waiting, limit))
        self._handed_out.update(keys)
        return [self._events[key] for key in keys]

    async def ack(self, transitions: Sequence[Transition]) -> None:
        """Forget transitions; see TaskStore."""
        for transition in transitions:
            self._events.pop(transition.key or ("", 0), None)

    def requeue(self, transitions: Sequence[Transition]) -> None:
        """Take transitions back; see TaskStore."""
        self._handed_out -= {each.key for each in transitions if each.key}
        self._tell()

    def transitions_changed(self) -> asyncio.Event:
        """Return an event for news for readers; see TaskStore."""
        return self._news

    def _tell(self) -> None:
        """Wake everybody who waits."""
        self._news.set()
        self._news = asyncio.Event()
