"""A program that is killed again and again, and what its readers were told.

The program is a process of its own: a worker and readers over one store. It writes
down what it was delivered before it asks for more. The service runs here, in a
thread, and outlives it.
"""

from __future__ import annotations

import contextlib
import json
import signal
import sqlite3
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Generator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from camb_async.simulator import ThreadedSimulator

from .cli_process import environment


PROGRAM = """
import asyncio, json, signal, sys
from camb_async import CambSession, FixedInterval, Limits, SqliteStore, work

path, told, count, interval = sys.argv[1:]

async def read(store, out):
    async for t in store.transitions(until_empty=True):
        line = [t.task_id, *t.key, t.status, t.is_final, t.context]
        print(json.dumps(line), file=out)

async def main():
    this = asyncio.current_task()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, this.cancel)
    limits = Limits(max_in_flight=100, max_rate=None)
    async with (
        CambSession(limits=limits, schedule=FixedInterval(float(interval))) as camb,
        SqliteStore(path) as store,
        asyncio.TaskGroup() as group,
    ):
        print("open", flush=True)
        if not int(open(path + ".added").read() or 0):
            await store.add([f"task-{n}" for n in range(int(count))], context=["x"])
            with open(path + ".added", "w") as added:
                added.write("1")
        out = open(told, "a", buffering=1)
        group.create_task(work(camb, store, until_empty=True))
        for _ in range(3):
            group.create_task(read(store, out))

asyncio.run(main())
"""


@contextlib.contextmanager
def service(count: int, seconds: float) -> Generator[ThreadedSimulator]:
    """Run a service whose tasks end one after the other within so many seconds."""
    with ThreadedSimulator() as simulator:
        for number in range(count):
            ends = "ERROR" if number % 10 == 0 else "SUCCESS"
            after = seconds * number / count
            simulator.add_task(f"task-{number}", after=after, status=ends)
        yield simulator


class Program:
    """Starts the program, and knows what it was told."""

    def __init__(self, directory: Path, count: int, interval: float) -> None:
        self.path = directory / "voices.db"
        self.told_path = directory / "told"
        self.told_path.touch()
        (directory / "voices.db.added").touch()
        self.arguments = [self.path, self.told_path, count, interval]

    def start(self, simulator: ThreadedSimulator) -> subprocess.Popen[str]:
        """Start it, and wait until it has opened the store."""
        process = subprocess.Popen(  # noqa: S603 - our own script
            [sys.executable, "-c", PROGRAM, *map(str, self.arguments)],
            env=environment()
            | {"CAMB_BASE_URL": simulator.base_url, "CAMB_API_KEY": simulator.api_key},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert "open\n" == process.stdout.readline()

        return process

    def told(self) -> list[list[Any]]:
        """Return what readers were delivered; a line may be cut by a kill."""
        found: list[list[Any]] = []
        for line in self.told_path.read_text().splitlines():
            with contextlib.suppress(ValueError):
                found.append(json.loads(line))
        return found


def check(told: list[list[Any]], count: int) -> None:
    """Every end was delivered, and nothing came under two keys."""
    by_task: dict[str, dict[tuple[str, int], tuple[str, bool]]] = defaultdict(dict)
    for task_id, watch, seq, status, final, context in told:
        assert ["x"] == context
        known = by_task[task_id].setdefault((watch, seq), (status, final))
        assert (status, final) == known
    assert count == len(by_task)
    for keys in by_task.values():
        in_order = [keys[key] for key in sorted(keys)]
        statuses = [status for status, _ in in_order]
        assert 1 == len({watch for watch, _ in keys})
        assert list(range(1, len(keys) + 1)) == sorted(seq for _, seq in keys)
        assert [False] * (len(keys) - 1) + [True] == [final for _, final in in_order]
        assert len(statuses) == len(set(statuses))


def killed_at_random(
    directory: Path, *, count: int, kills: int, seconds: float, interval: float
) -> None:
    """Kill the program at random moments, have it come to its end, and check."""
    random = Random(f"{count} {kills}")
    program = Program(directory, count, interval)
    with service(count, seconds) as simulator:
        for _ in range(kills):
            with program.start(simulator) as process:
                time.sleep(random.uniform(0.0, 2.0 * seconds / kills))
                process.kill()
        with program.start(simulator) as process:
            assert 0 == process.wait()
    check(program.told(), count)


def test_nothing_is_lost_where_a_program_is_killed(tmp_path: Path) -> None:
    """SIGKILL: every end is delivered, none twice under another key."""
    killed_at_random(tmp_path, count=200, kills=4, seconds=2.0, interval=0.3)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_nothing_is_lost_where_a_program_is_killed_twenty_times(tmp_path: Path) -> None:
    """The same with 2,000 tasks."""
    killed_at_random(tmp_path, count=2000, kills=20, seconds=30.0, interval=3.0)


def test_a_program_that_is_terminated_gives_everything_back(tmp_path: Path) -> None:
    """SIGTERM: what was seen is recorded, and nobody holds anything any more."""
    program = Program(tmp_path, 50, 0.1)
    with service(50, 60.0) as simulator:
        with program.start(simulator) as process:
            while len(program.told()) < 40:
                time.sleep(0.01)
            process.send_signal(signal.SIGTERM)
            assert 0 != process.wait(10)
        with contextlib.closing(sqlite3.connect(program.path)) as connection:
            held = "select count(*) from camb_task where owner is not null"
            (count,) = connection.execute(held).fetchone()
            (workers,) = connection.execute(
                "select count(*) from camb_worker"
            ).fetchone()

    assert (0, 0) == (count, workers)
