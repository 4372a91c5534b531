"""The PostgreSQL store behind a PgBouncer that pools transactions."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from camb_async import PostgresStore, Transition, work
from camb_async.simulator import ThreadedSimulator

from .cli_process import environment
from .fakes import FakeStatusSource
from .helpers import SOON, run
from .pgbouncer import pooled, program
from .storing import ME, OTHER, claimed, told


pytestmark = pytest.mark.slow

NAMES = [f"task-{number}" for number in range(100)]
STORY = ["PENDING", "QUEUED", "SUCCESS"]


@pytest.fixture
def pool(dsn: str) -> Iterator[str]:
    """The address of a pool of three connections to an empty database."""
    if program() is None and "CI" not in os.environ:
        pytest.skip("no PgBouncer: apt-get install pgbouncer")
    with pooled(dsn, 3) as address:
        yield address


def test_many_stores_share_few_connections(pool: str) -> None:
    """All open at once; each change is recorded once, and each store does its part."""
    source = FakeStatusSource(dict.fromkeys(NAMES, STORY))

    async def one() -> list[Transition]:
        async with PostgresStore(f"{pool}?pgbouncer=true") as store:
            await store.add(NAMES)
            async with asyncio.TaskGroup() as group:
                group.create_task(
                    work(source, store, schedule=SOON, until_empty=True, capacity=20)
                )
                return [t async for t in store.transitions(until_empty=True)]

    async def main() -> list[Transition]:
        async with asyncio.timeout(50):
            shares = await asyncio.gather(*(one() for _ in range(8)))
        return [transition for share in shares for transition in share]

    transitions = run(main())
    assert sorted(NAMES) == sorted(t.task_id for t in transitions if t.is_final)
    assert len(transitions) == len({t.key for t in transitions})


def test_what_a_dead_worker_held_is_taken_over(pool: str) -> None:
    """Though nothing is heard through a pool: it is looked for from time to time."""

    async def main() -> None:
        async with (
            PostgresStore(f"{pool}?pgbouncer=true", lease=0.5) as first,
            PostgresStore(f"{pool}?pgbouncer=true") as second,
        ):
            (held,) = await claimed(first, "a")
            await second.join(OTHER)
            assert [] == await second.claim(OTHER, 9)
            async with asyncio.timeout(20):
                while not (taken := await second.claim(OTHER, 9)):
                    await second.tasks_changed().wait()
            assert [held.watch] == [each.watch for each in taken]
            assert not await first.beat(ME)
            late = [told(held, "SUCCESS")]
            assert [held.watch] == await first.record(ME, late)
            assert [] == await second.record(OTHER, late)

    run(main())


PROGRAM = """
import asyncio, json, sys
from camb_async import CambSession, FixedInterval, PostgresStore, work

async def main():
    async with CambSession() as camb, PostgresStore(sys.argv[1], lease=1.0) as store:
        print("open", flush=True)
        async with asyncio.TaskGroup() as group:
            group.create_task(
                work(camb, store, until_empty=True, schedule=FixedInterval(0.1)))
            async for t in store.transitions(until_empty=True):
                print(json.dumps([t.task_id, *t.key, t.is_final]), flush=True)

asyncio.run(main())
"""


def started(simulator: ThreadedSimulator, pool: str) -> subprocess.Popen[str]:
    """Start a process that works and reads until there is nothing left."""
    process = subprocess.Popen(  # noqa: S603 - our own script
        [sys.executable, "-c", PROGRAM, f"{pool}?pgbouncer=true"],
        env=environment()
        | {"CAMB_BASE_URL": simulator.base_url, "CAMB_API_KEY": simulator.api_key},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert "open\n" == process.stdout.readline()

    return process


def test_processes_take_over_from_one_that_is_killed(pool: str) -> None:
    """What it had read and not acknowledged comes again, all else comes once."""

    async def add() -> int:
        async with PostgresStore(f"{pool}?pgbouncer=true") as store:
            return await store.add(NAMES)

    lines: list[list[Any]] = []
    with ThreadedSimulator() as simulator, contextlib.ExitStack() as stack:
        for number, name in enumerate(NAMES):
            simulator.add_task(name, after=number / 25)
        assert len(NAMES) == run(add())
        first, *others = [
            stack.enter_context(started(simulator, pool)) for _ in range(3)
        ]
        assert first.stdout is not None
        lines.append(json.loads(first.stdout.readline()))
        first.kill()
        for process in (first, *others):
            lines += map(json.loads, process.stdout or ())
            process.wait()
        assert [0, 0] == [other.returncode for other in others]

    keys = {(watch, seq): (name, final) for name, watch, seq, final in lines}
    assert sorted(NAMES) == sorted(name for name, final in keys.values() if final)
    assert len(NAMES) == len({watch for watch, _ in keys})
