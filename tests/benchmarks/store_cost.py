"""What a store costs: microseconds to add, claim, record and read a task.

Run it: ``python -m tests.benchmarks.store_cost``. All goes in batches, as it does
under load; both stores write so that a power cut loses nothing.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from uuid import uuid4

import attrs

from camb_async import (
    PostgresStore,
    SqliteStore,
    StoredTask,
    TaskState,
    TaskStatus,
    Transition,
)
from tests.postgres import server


BATCH = 250
PENDING = TaskState(TaskStatus.PENDING, "PENDING")
SUCCESS = TaskState(TaskStatus.SUCCESS, "SUCCESS", run_id=1)

Store = SqliteStore | PostgresStore


@attrs.frozen
class Row:
    """Microseconds in each round.

    For a task to be added and claimed, a transition to be recorded and read.
    """

    store: str
    tasks: int
    add: Sequence[float]
    claim: Sequence[float]
    record: Sequence[float]
    read: Sequence[float]


def _transition(stored: StoredTask, seq: int) -> Transition:
    return Transition(
        task=stored.task,
        previous=None if seq == 1 else TaskStatus.PENDING,
        state=PENDING if seq == 1 else SUCCESS,
        error=None,
        at=datetime.now(UTC),
        elapsed=1.0,
        uncertainty=0.5,
        polls=seq,
        context=stored.context,
        key=(stored.watch, seq),
    )


async def _claimed(store: Store, owner: str) -> list[StoredTask]:
    found: list[StoredTask] = []
    while tasks := await store.claim(owner, BATCH):
        found += tasks
    return found


async def _recorded(store: Store, owner: str, tasks: Sequence[StoredTask]) -> None:
    for seq in (1, 2):
        for start in range(0, len(tasks), BATCH):
            batch = [_transition(each, seq) for each in tasks[start : start + BATCH]]
            await store.record(owner, batch)


async def _read(store: Store) -> int:
    count = 0
    while transitions := await store.deliver(BATCH):
        await store.ack(transitions)
        count += len(transitions)
    return count


async def measure(store: Store, count: int) -> list[float]:
    """Return the microseconds of each part in one round."""
    owner, times = uuid4().hex, [time.perf_counter()]
    async with store:
        await store.add([f"task-{number}" for number in range(count)], context=[1])
        times.append(time.perf_counter())
        await store.join(owner)
        tasks = await _claimed(store, owner)
        times.append(time.perf_counter())
        await _recorded(store, owner, tasks)
        times.append(time.perf_counter())
        read = await _read(store)
    # On leaving, the last acknowledgements are written.
    times.append(time.perf_counter())
    assert read == 2 * count
    parts = [end - start for start, end in pairwise(times)]
    per = (count, count, 2 * count, 2 * count)
    return [round(part / n * 1e6, 1) for part, n in zip(parts, per, strict=True)]


def rows(rounds: int = 3, count: int = 20_000) -> list[Row]:
    """Return a row for each store; they take turns in each round."""
    found: dict[str, list[list[float]]] = {"SqliteStore": [], "PostgresStore": []}
    with tempfile.TemporaryDirectory() as directory, server(durable=True) as postgres:
        for number in range(rounds):
            path = Path(directory) / f"{number}.db"
            dsn = postgres.new_database()
            found["SqliteStore"].append(asyncio.run(measure(SqliteStore(path), count)))
            found["PostgresStore"].append(
                asyncio.run(measure(PostgresStore(dsn), count))
            )
    return [
        Row(name, count, *zip(*times, strict=True)) for name, times in found.items()
    ]


if __name__ == "__main__":
    for row in rows():
        print(row)  # noqa: T201
