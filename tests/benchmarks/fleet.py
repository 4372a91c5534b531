"""Three workers share twenty thousand tasks, undisturbed and then in trouble.

Run it: ``python -m tests.benchmarks.fleet``. Tasks end between 5 and 40 seconds after
the start; asking costs nothing, so that what is left is the store. In trouble, one
worker is killed after 10 seconds; another is frozen from the 13th to the 26th, past
its lease, and thawed; after 30 the server is killed, and started again two seconds
later.
"""

from __future__ import annotations

import asyncio
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import asyncpg
import attrs

from camb_async import (
    FixedInterval,
    Limits,
    PostgresStore,
    TaskRef,
    TaskState,
    TaskStatus,
    Transition,
    work,
)
from tests.postgres import PostgresServer, server


WORKERS = 3
QUANTILES = (0.5, 0.95, 0.99)
INTERVAL, LEASE = 5.0, 8.0
FIRST_END, LAST_END = 5.0, 40.0
PENDING = TaskState(TaskStatus.PENDING, "PENDING")
SUCCESS = TaskState(TaskStatus.SUCCESS, "SUCCESS", run_id=1)


#: The median, and what one in twenty and one in a hundred exceed; empty if nothing was.
Quantiles = tuple[float, ...]


@attrs.frozen
class Row:
    """What became of the tasks, and what it took.

    ``again`` are transitions that were delivered more than once, under the same key;
    ``twice`` are ends and changes that were told under two keys; ``statements`` are
    made on the server for each task. ``late`` are seconds from the end of a task to
    its delivery; ``killed`` and ``frozen`` those until another worker had a task.
    ``workers`` and ``server`` are seconds of CPU; those of a killed one are unknown.
    """

    story: str
    tasks: int
    finals: int
    again: int
    twice: int
    left: int
    statements: float | None
    late: Quantiles
    killed: Quantiles
    frozen: Quantiles
    workers: float
    server: float | None


def end_of(task_id: str, start: float) -> float:
    """Return when a task ends, the same in every process."""
    share = int(task_id.rpartition("-")[2]) * 7919 % 10_007 / 10_007
    return start + FIRST_END + share * (LAST_END - FIRST_END)


class Source:
    """Answers by the clock, without waiting."""

    def __init__(self, start: float) -> None:
        self.limits = Limits(max_rate=None)
        self._start = start

    async def poll(self, task: TaskRef, /) -> TaskState:
        """Return the state of a task."""
        return PENDING if time.time() < end_of(task.task_id, self._start) else SUCCESS


async def worker(dsn: str, start: float, capacity: int) -> None:
    """Work until there is nothing left, and tell what it took."""
    async with PostgresStore(dsn, lease=LEASE) as store:
        await work(
            Source(start),
            store,
            capacity=capacity,
            schedule=FixedInterval(INTERVAL),
            until_empty=True,
        )
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(used.ru_utime + used.ru_stime, flush=True)  # noqa: T201


def started(dsn: str, start: float, capacity: int) -> subprocess.Popen[str]:
    """Return a worker's process."""
    command = [
        sys.executable,
        "-m",
        "tests.benchmarks.fleet",
        dsn,
        str(start),
        str(capacity),
    ]
    return subprocess.Popen(  # noqa: S603 - this module
        command, stdout=subprocess.PIPE, text=True
    )


class Watched:
    """What the reader was delivered, and how late it was."""

    def __init__(self, start: float) -> None:
        self._start = start
        self.keys = Counter[tuple[str, int]]()
        self.seen = Counter[tuple[str, str]]()
        self.finals = Counter[str]()
        self.late = list[float]()

    def take(self, transition: Transition) -> None:
        """Count a transition."""
        assert transition.key is not None
        self.keys[transition.key] += 1
        if self.keys[transition.key] > 1:
            return
        self.seen[transition.task_id, transition.status or ""] += 1
        if transition.is_final:
            self.finals[transition.task_id] += 1
            self.late.append(time.time() - end_of(transition.task_id, self._start))

    @property
    def twice(self) -> int:
        """How many were told under two keys, or ended twice."""
        return sum(n - 1 for n in (*self.seen.values(), *self.finals.values()))


@asynccontextmanager
async def _asking(dsn: str) -> AsyncGenerator[asyncpg.Connection[asyncpg.Record]]:
    connection = await asyncpg.connect(dsn)
    try:
        yield connection
    finally:
        await connection.close()


async def takeover(dsn: str, process: int) -> list[float]:
    """Return after how many seconds each task of a worker was another's."""
    async with _asking(dsn) as connection:
        owner = await connection.fetchval(
            "select id from camb_worker where name like '% ' || $1::text", str(process)
        )
        left = {
            row["watch"]
            for row in await connection.fetch(
                "select watch from camb_task where owner = $1", owner
            )
        }
        begin, times = time.monotonic(), list[float]()
        while left:
            await asyncio.sleep(0.1)
            rows = await connection.fetch(
                "select watch from camb_task where watch = any($1) "
                "and (owner is null or owner = $2)",
                left,
                owner,
            )
            still = {row["watch"] for row in rows}
            times += [time.monotonic() - begin] * (len(left) - len(still))
            left = still
        return times


async def trouble(
    postgres: PostgresServer, dsn: str, workers: Sequence[subprocess.Popen[str]]
) -> tuple[list[float], list[float]]:
    """Kill, freeze, thaw, and take the server away; return how long takeovers took."""
    killed, frozen = workers[0], workers[1]
    await asyncio.sleep(10)
    killed.kill()
    after_kill = asyncio.ensure_future(takeover(dsn, killed.pid))
    await asyncio.sleep(3)
    frozen.send_signal(signal.SIGSTOP)
    after_freeze = asyncio.ensure_future(takeover(dsn, frozen.pid))
    await asyncio.sleep(13)
    frozen.send_signal(signal.SIGCONT)
    times = await after_kill, await after_freeze
    await asyncio.sleep(4)
    await asyncio.to_thread(postgres.kill)
    await asyncio.sleep(2)
    await asyncio.to_thread(postgres.start)
    return times


async def statements(dsn: str) -> int:
    """Return how many the server has counted since it was started."""
    async with _asking(dsn) as connection:
        await connection.execute("create extension if not exists pg_stat_statements")
        return int(
            await connection.fetchval(
                "select coalesce(sum(calls), 0) from pg_stat_statements "
                "where dbid = (select oid from pg_database "
                "where datname = current_database())"
            )
        )


async def run(postgres: PostgresServer, dsn: str, count: int, *, troubled: bool) -> Row:
    """Return what became of the tasks of one run."""
    cpu, made = postgres.cpu(), await statements(dsn)
    async with PostgresStore(dsn, lease=LEASE) as store:
        start = time.time()
        watched = Watched(start)
        await store.add([f"task-{number}" for number in range(count)])
        workers = [started(dsn, start, count) for _ in range(WORKERS)]
        times = asyncio.ensure_future(
            trouble(postgres, dsn, workers) if troubled else asyncio.sleep(0, ((), ()))
        )
        async for transition in store.transitions(until_empty=True):
            watched.take(transition)
        killed, frozen = await times
        left = await store.watching()
        outs = [await asyncio.to_thread(each.communicate) for each in workers]
    return Row(
        story="in trouble" if troubled else "undisturbed",
        tasks=count,
        finals=sum(watched.finals.values()),
        again=sum(n - 1 for n in watched.keys.values()),
        twice=watched.twice,
        left=left,
        # A server that was killed has lost count of them.
        statements=None if troubled else (await statements(dsn) - made) / count,
        late=_quantiles(watched.late),
        killed=_quantiles(killed),
        frozen=_quantiles(frozen),
        workers=sum(float(out) for out, _ in outs if out),
        # One that was started anew counts from then on.
        server=None if troubled else postgres.cpu() - cpu,
    )


def _quantiles(values: Sequence[float]) -> Quantiles:
    ordered = sorted(values)
    return tuple(ordered[int(len(ordered) * q)] for q in QUANTILES if ordered)


def rows(count: int = 20_000) -> list[Row]:
    """Return what became of the tasks, without trouble and with it."""
    found: list[Row] = []
    for troubled in (False, True):
        with server(durable=True) as postgres:
            dsn = postgres.new_database()
            found.append(asyncio.run(run(postgres, dsn, count, troubled=troubled)))
    return found


def main(arguments: Sequence[str]) -> None:
    """Be one of the workers, or print what became of the tasks."""
    if arguments:
        dsn, start, capacity = arguments
        asyncio.run(worker(dsn, float(start), int(capacity)))
        return
    for row in rows():
        print(row)  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1:])
