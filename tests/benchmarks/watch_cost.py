"""Bytes and CPU of watching N tasks whose polls cost nothing.

Run it: ``python -m tests.benchmarks.watch_cost [N ...]``. A watcher, and a coroutine
per task for comparison; each is measured in a process of its own. Bytes are per
watched task, ids and refs excluded.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import statistics
import sys
import time
import tracemalloc
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractAsyncContextManager
from multiprocessing import get_context

import attrs

from camb_async import (
    FixedInterval,
    Limits,
    TaskRef,
    TaskState,
    TaskStatus,
    TaskWatcher,
)


PENDING = TaskState(TaskStatus.PENDING)
SIZES = (1_000, 10_000, 100_000)
INTERVAL = 8.0
#: The time that is measured is taken in so many parts.
PARTS = 5


@attrs.frozen
class Row:
    """What one way costs with so many tasks.

    ``add``, ``poll`` and ``close`` are microseconds, a task each, ``poll`` for each
    part of the time that was measured. ``lag`` is what one poll in a hundred exceeds,
    in milliseconds, for a watcher.
    """

    way: str
    tasks: int
    bytes: float
    add: float
    poll: Sequence[float]
    close: float
    lag: float | None


@attrs.frozen
class Watching:
    """What is measured from outside."""

    add: Callable[[TaskRef], object]
    lag: Callable[[], float | None]


class Source:
    """Answers PENDING without waiting."""

    def __init__(self) -> None:
        self.limits = Limits(max_rate=None)
        self.polls = 0
        self._wanted = 0
        self._enough = asyncio.Event()

    async def poll(self, _task: TaskRef, /) -> TaskState:
        """Return the one state there is."""
        self.polls += 1
        if self.polls == self._wanted:
            self._enough.set()
        return PENDING

    async def everyone_twice(self, count: int) -> None:
        """Return when there were two polls per task."""
        self._wanted = 2 * count
        await self._enough.wait()


@contextlib.asynccontextmanager
async def watcher(source: Source, interval: float) -> AsyncGenerator[Watching]:
    """Watch with a TaskWatcher whose reports are read."""

    async def drain() -> None:
        async for _ in watching:
            pass

    async with TaskWatcher(source, schedule=FixedInterval(interval)) as watching:
        reader = asyncio.ensure_future(drain())
        yield Watching(watching.add, lambda: watching.stats().lag_p99)
        reader.cancel()


@contextlib.asynccontextmanager
async def coroutines(source: Source, interval: float) -> AsyncGenerator[Watching]:
    """Watch as most people do."""

    async def follow(task: TaskRef) -> None:
        await asyncio.sleep(random.random() * interval)
        while await source.poll(task) is PENDING:  # noqa: ASYNC110 - it polls
            await asyncio.sleep(interval * random.uniform(0.9, 1.1))

    tasks: list[asyncio.Task[None]] = []
    yield Watching(
        lambda task: tasks.append(asyncio.ensure_future(follow(task))), lambda: None
    )
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


WAYS: dict[str, Callable[[Source, float], AbstractAsyncContextManager[Watching]]] = {
    "TaskWatcher": watcher,
    "a coroutine per task": coroutines,
}


async def bytes_per_task(way: str, refs: Sequence[TaskRef], interval: float) -> float:
    """Return the memory that watching these tasks takes, after a poll of each."""
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    source = Source()
    async with WAYS[way](source, interval) as watching:
        for ref in refs:
            watching.add(ref)
        await source.everyone_twice(len(refs))
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return round((after - before) / len(refs))


async def cpu_per_poll(source: Source, seconds: float) -> float:
    """Return the microseconds of CPU that each poll of the next seconds took."""
    before, polls = time.process_time(), source.polls
    await asyncio.sleep(seconds)
    cpu = (time.process_time() - before) / max(1, source.polls - polls)
    return round(cpu * 1e6, 2)


async def costs(way: str, refs: Sequence[TaskRef], interval: float) -> Row:
    """Return a row in which the bytes are not counted yet."""
    source = Source()
    async with WAYS[way](source, interval) as watching:
        start = time.perf_counter()
        for ref in refs:
            watching.add(ref)
        add = time.perf_counter() - start
        await asyncio.sleep(interval * 1.2)
        polls = [await cpu_per_poll(source, interval / 4.0) for _ in range(PARTS)]
        lag = watching.lag()
        start = time.perf_counter()
    close = time.perf_counter() - start
    return Row(
        way,
        len(refs),
        bytes=0.0,
        add=round(add / len(refs) * 1e6, 2),
        poll=polls,
        close=round(close / len(refs) * 1e6, 2),
        lag=None if lag is None else round(lag * 1e3, 1),
    )


def measure(way: str, count: int, interval: float = INTERVAL) -> Row:
    """Return the row of one way and number of tasks."""
    refs = [TaskRef(f"task-{number:08d}") for number in range(count)]
    row = asyncio.run(costs(way, refs, interval))
    # How often they are polled makes no difference to what is kept, unless it is so
    # often that polls are overdue: counting bytes makes everything slow.
    sparse = max(interval / 5.0, count / 10_000)
    size = asyncio.run(bytes_per_task(way, refs, sparse))
    return attrs.evolve(row, bytes=size)


def rows(sizes: Sequence[int] = SIZES, interval: float = INTERVAL) -> list[Row]:
    """Return what is printed, as data: each row comes from a fresh process."""
    with ProcessPoolExecutor(
        1, mp_context=get_context("spawn"), max_tasks_per_child=1
    ) as processes:
        return [
            processes.submit(measure, way, size, interval).result()
            for size in sizes
            for way in WAYS
        ]


def main() -> None:
    """Print a line for each size and way."""
    for row in rows([int(size) for size in sys.argv[1:]] or SIZES):
        print(  # noqa: T201
            f"{row.tasks:>7} tasks, {row.way:20} {row.bytes:.0f} bytes, "
            f"add {row.add:.1f} us, poll {statistics.median(row.poll):.1f} us, "
            f"close {row.close:.1f} us, lag p99 {row.lag} ms"
        )


if __name__ == "__main__":
    main()
