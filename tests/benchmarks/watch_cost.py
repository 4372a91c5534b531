"""Bytes and CPU of watching N tasks whose polls cost nothing.

Run it: ``python -m tests.benchmarks.watch_cost [N ...]``. Each size runs in a
process of its own. Bytes are per watched task, ids and refs excluded.
"""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import time
import tracemalloc

from camb_async import (
    FixedInterval,
    Limits,
    TaskRef,
    TaskState,
    TaskStatus,
    TaskWatcher,
)


PENDING = TaskState(TaskStatus.PENDING)
INTERVAL = 10.0
SECONDS = 20.0


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


async def drain(watcher: TaskWatcher) -> None:
    """Read whatever is reported."""
    async for _ in watcher:
        pass


async def bytes_per_task(refs: list[TaskRef]) -> float:
    """Return the memory that watching these tasks takes, after a poll of each."""
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    source = Source()
    async with TaskWatcher(source, schedule=FixedInterval(INTERVAL)) as watcher:
        reader = asyncio.ensure_future(drain(watcher))
        for ref in refs:
            watcher.add(ref)
        await source.everyone_twice(len(refs))
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
        reader.cancel()
    tracemalloc.stop()
    return (after - before) / len(refs)


async def costs(refs: list[TaskRef]) -> str:
    """Return a line: add, CPU per poll, close, and the lateness of polls."""
    source = Source()
    count = len(refs)
    watcher = TaskWatcher(source, schedule=FixedInterval(INTERVAL))
    async with watcher:
        reader = asyncio.ensure_future(drain(watcher))
        start = time.perf_counter()
        for ref in refs:
            watcher.add(ref)
        add = time.perf_counter() - start
        await asyncio.sleep(INTERVAL * 1.2)
        before, polls = time.process_time(), source.polls
        await asyncio.sleep(SECONDS)
        cpu = (time.process_time() - before) / max(1, source.polls - polls)
        lag = watcher.stats().lag_p99
        reader.cancel()
        start = time.perf_counter()
    close = time.perf_counter() - start
    return (
        f"add {add / count * 1e6:.1f} us, poll {cpu * 1e6:.1f} us, "
        f"close {close / count * 1e6:.1f} us per task, lag p99 {lag * 1e3:.0f} ms"
    )


def measure(count: int) -> None:
    """Print the line for one number of tasks."""
    refs = [TaskRef(f"task-{n:08d}") for n in range(count)]
    line = asyncio.run(costs(refs))
    size = asyncio.run(bytes_per_task(refs))
    print(f"{count:>7} tasks: {size:.0f} bytes, {line}", flush=True)  # noqa: T201


def main() -> None:
    """Measure each size in a fresh process."""
    sizes = sys.argv[1:] or ["1000", "10000", "100000"]
    if len(sizes) == 1:
        measure(int(sizes[0]))
        return
    for size in sizes:
        subprocess.run(  # noqa: S603 - this very module
            [sys.executable, "-m", "tests.benchmarks.watch_cost", size], check=True
        )


if __name__ == "__main__":
    main()
