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
#: Seconds of the whole story; a hurry divides them all.
INTERVAL, LEASE = 5.0, 8.0
FIRST_END, LAST_END = 5.0, 40.0
KILL, FREEZE, THAW, KILL_SERVER, START_SERVER = 10.0, 13.0, 26.0, 30.0, 32.0
QUANTILES = (0.5, 0.95, 0.99)
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


@attrs.frozen
class Times:
    """When it began, and how much quicker than usual all of it goes."""

    start: float
    hurry: float

    def end_of(self, task_id: str) -> float:
        """Return when a task ends, the same in every process."""
        share = int(task_id.rpartition("-")[2]) * 7919 % 10_007 / 10_007
        after = FIRST_END + share * (LAST_END - FIRST_END)
        return self.start + after / self.hurry

    async def until(self, moment: float) -> None:
        """Wait for a moment of the story."""
        await asyncio.sleep(self.start + moment / self.hurry - time.time())


class Source:
    """Answers by the clock, without waiting."""

    def __init__(self, times: Times) -> None:
        self.limits = Limits(max_rate=None)
        self._times = times

    async def poll(self, task: TaskRef, /) -> TaskState:
        """Return the state of a task."""
        is_over = time.time() >= self._times.end_of(task.task_id)
        return SUCCESS if is_over else PENDING


async def worker(dsn: str, times: Times, capacity: int) -> None:
    """Work until there is nothing left, and tell what it took."""
    async with PostgresStore(dsn, lease=LEASE / times.hurry) as store:
        await work(
            Source(times),
            store,
            capacity=capacity,
            schedule=FixedInterval(INTERVAL / times.hurry),
            until_empty=True,
        )
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(used.ru_utime + used.ru_stime, flush=True)  # noqa: T201


def started(dsn: str, times: Times, capacity: int) -> subprocess.Popen[str]:
    """Return a worker's process."""
    arguments = (dsn, *map(str, (times.start, times.hurry, capacity)))
    return subprocess.Popen(  # noqa: S603 - this module
        [sys.executable, "-m", "tests.benchmarks.fleet", *arguments],
        stdout=subprocess.PIPE,
        text=True,
    )


class Watched:
    """What the reader was delivered, and how late it was."""

    def __init__(self, times: Times) -> None:
        self._times = times
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
            self.late.append(time.time() - self._times.end_of(transition.task_id))

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
    postgres: PostgresServer,
    dsn: str,
    times: Times,
    workers: Sequence[subprocess.Popen[str]],
) -> tuple[list[float], list[float]]:
    """Kill, freeze, thaw, and take the server away; return how long takeovers took."""
    killed, frozen = workers[0], workers[1]
    await times.until(KILL)
    killed.kill()
    after_kill = asyncio.ensure_future(takeover(dsn, killed.pid))
    await times.until(FREEZE)
    frozen.send_signal(signal.SIGSTOP)
    after_freeze = asyncio.ensure_future(takeover(dsn, frozen.pid))
    await times.until(THAW)
    frozen.send_signal(signal.SIGCONT)
    taken_over = await after_kill, await after_freeze
    await times.until(KILL_SERVER)
    await asyncio.to_thread(postgres.kill)
    await times.until(START_SERVER)
    await asyncio.to_thread(postgres.start)
    return taken_over


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


async def run(
    postgres: PostgresServer, count: int, hurry: float, *, troubled: bool
) -> Row:
    """Return what became of the tasks of one run."""
    dsn = await asyncio.to_thread(postgres.new_database)
    cpu, made = postgres.cpu(), await statements(dsn)
    async with PostgresStore(dsn, lease=LEASE / hurry) as store:
        times = Times(time.time(), hurry)
        watched = Watched(times)
        await store.add([f"task-{number}" for number in range(count)])
        workers = [started(dsn, times, count) for _ in range(WORKERS)]
        disturbed = trouble(postgres, dsn, times, workers) if troubled else _peace()
        taken_over = asyncio.ensure_future(disturbed)
        async for transition in store.transitions(until_empty=True):
            watched.take(transition)
        killed, frozen = await taken_over
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


async def _peace() -> tuple[list[float], list[float]]:
    return [], []


def _quantiles(values: Sequence[float]) -> Quantiles:
    ordered = sorted(values)
    return tuple(ordered[int(len(ordered) * q)] for q in QUANTILES if ordered)


def rows(count: int = 20_000, hurry: float = 1.0) -> list[Row]:
    """Return what became of the tasks, without trouble and with it."""
    found: list[Row] = []
    for troubled in (False, True):
        with server(durable=True) as postgres:
            story = run(postgres, count, hurry, troubled=troubled)
            found.append(asyncio.run(story))
    return found


def main(arguments: Sequence[str]) -> None:
    """Be one of the workers, or print what became of the tasks."""
    if arguments:
        dsn, start, hurry, capacity = arguments
        times = Times(float(start), float(hurry))
        asyncio.run(worker(dsn, times, int(capacity)))
        return
    for row in rows():
        print(row)  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1:])
