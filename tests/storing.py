"""What the tests of stores share."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import attrs
import pytest

from camb_async import SqliteStore, StoredTask, TaskStore, Transition

from .fakes import state
from .helpers import until


#: The names of workers, which PostgreSQL wants to be UUIDs.
ME, OTHER, ONE, TWO = (UUID(int=number).hex for number in range(4))

#: For a test over `where` that takes long on a server.
quick_with_a_file = pytest.mark.parametrize(
    "where", ["file", pytest.param("server", marks=pytest.mark.slow)], indirect=True
)


def open_store(directory: Path) -> SqliteStore:
    """Return a store in this directory, to be entered."""
    return SqliteStore(directory / "voices.db")


def told(stored: StoredTask, status: str, seq: int = 1, **options: Any) -> Transition:
    """Return the transition of a claimed task that has this number."""
    transition = Transition(
        task=stored.task,
        previous=None,
        state=state(status),
        error=None,
        at=datetime.now(UTC),
        elapsed=1.0,
        uncertainty=None,
        polls=seq,
        context=stored.context,
        key=(stored.watch, seq),
    )
    return attrs.evolve(transition, **options)


async def claimed(store: TaskStore, *tasks: str, owner: str = ME) -> list[StoredTask]:
    """Add tasks, and claim all that is free."""
    await store.add(tasks)
    await store.join(owner)
    return await store.claim(owner, 1000)


async def read(store: TaskStore, count: int) -> list[Transition]:
    """Return so many transitions, all of them acknowledged but the last."""
    transitions = store.transitions()
    async with asyncio.timeout(10):
        return [await anext(transitions) for _ in range(count)]


def statuses(transitions: Sequence[Transition], task_id: str = "a") -> list[str | None]:
    """Return the statuses that were delivered of one task."""
    return [t.status for t in transitions if t.task_id == task_id]


async def no_thread_left() -> None:
    """Wait until no thread of a store is left, which has to be before long."""
    await until(
        lambda: not any("camb_async-store" in t.name for t in threading.enumerate())
    )
