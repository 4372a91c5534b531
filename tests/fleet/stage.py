"""A database, workers that are started and ended, and what came of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Generator
from typing import Any

import asyncpg

from camb_async import PostgresStore
from tests.cli_process import environment
from tests.helpers import run


Process = subprocess.Popen[str]


class Fleet:
    """Workers over one database; the tasks end one after the other, by a timetable."""

    def __init__(self, dsn: str, *, step: float, lease: float = 1.0) -> None:
        self.dsn = dsn
        self._options = {"dsn": dsn, "lease": lease, "step": step, "began": time.time()}
        self.workers: list[Process] = []

    def add(self, count: int, **options: Any) -> None:
        """Have so many tasks watched, and begin the time from which they count."""

        async def main() -> None:
            async with PostgresStore(self.dsn) as store:
                await store.add(
                    [f"task-{number}" for number in range(count)], **options
                )

        run(main())
        self._options["began"] = time.time()

    def start(self, count: int = 1, **options: Any) -> list[Process]:
        """Start workers, and wait until they have opened the store."""
        text = json.dumps(self._options | options)
        started = [
            subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, "-m", "tests.fleet.worker", text],
                env=environment(),
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(count)
        ]
        self.workers += started
        for worker in started:
            assert worker.stdout is not None
            assert "working\n" == worker.stdout.readline()
        return started

    def ask(self, query: str, *arguments: object) -> Any:
        """Return the value that a query finds."""
        [row] = self.rows(query, *arguments)
        return row[0]

    def rows(self, query: str, *arguments: object) -> list[Any]:
        """Return the rows that a query finds."""

        async def main() -> list[Any]:
            connection = await asyncpg.connect(self.dsn)
            try:
                return await connection.fetch(query, *arguments)
            finally:
                await connection.close()

        return run(main())

    def until(self, query: str, *arguments: object, within: float = 30.0) -> None:
        """Wait until a query finds that something is so."""
        ends = time.monotonic() + within
        while not self.ask(query, *arguments):
            assert time.monotonic() < ends, query
            time.sleep(0.05)

    def until_over(self, within: float = 30.0) -> None:
        """Wait until no task is watched any more."""
        self.until("select count(*) = 0 from camb_task", within=within)

    def check(self, count: int) -> None:
        """Each task has one watch, its numbers have no gap, and it has one end."""
        by_task = defaultdict[str, list[Any]](list)
        for row in self.rows(
            "select task_id, watch, seq, final, state->>'status' as status, error "
            "from camb_event order by id"
        ):
            by_task[row["task_id"]].append(row)
        assert count == len(by_task)
        for rows in by_task.values():
            statuses = [row["status"] for row in rows]
            assert 1 == len({row["watch"] for row in rows})
            assert list(range(1, len(rows) + 1)) == [row["seq"] for row in rows]
            assert [False] * (len(rows) - 1) + [True] == [row["final"] for row in rows]
            assert "SUCCESS" == statuses[-1]
            assert len(statuses) == len(set(statuses))


#: How many workers hold anything; how many tasks are held by nobody.
HOLDERS = "select count(distinct owner) from camb_task"
FREE = "select count(*) from camb_task where owner is null"
SETTLED = f"select 0 = ({FREE}) and max(attempts) = 0 from camb_task"  # noqa: S608


@contextlib.contextmanager
def fleet(dsn: str, *, step: float, lease: float = 1.0) -> Generator[Fleet]:
    """Yield a fleet of which nothing is left afterwards."""
    running = Fleet(dsn, step=step, lease=lease)
    try:
        yield running
    finally:
        for worker in running.workers:
            worker.kill()
            worker.communicate()


async def ask(dsn: str, query: str, *arguments: object) -> Any:
    """Return the value that a query finds."""
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(query, *arguments)
    finally:
        await connection.close()


async def do(dsn: str, statements: str) -> None:
    """Make statements, one after the other."""
    connection = await asyncpg.connect(dsn)
    await connection.execute(statements)
    await connection.close()


async def eventually(dsn: str, query: str, *arguments: object) -> None:
    """Wait until a query finds that something is so."""
    async with asyncio.timeout(20):
        while not await ask(dsn, query, *arguments):  # noqa: ASYNC110 - no news of it
            await asyncio.sleep(0.02)
