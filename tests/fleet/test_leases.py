"""Who holds what: leases that end, workers that are taken for dead, clocks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Self

import pytest

from camb_async import (
    DeadlineExceededError,
    PostgresStore,
    StoreError,
    TaskRef,
    TaskState,
    Transition,
    work,
)
from camb_async.stores import _server
from tests.fakes import FakeStatusSource
from tests.helpers import QUICK, SOON, run, until
from tests.storing import told

from .stage import FREE, HOLDERS, ask, eventually, fleet


OLD, NEW = "0" * 32, "1" * 32
NAMES = [f"task-{number}" for number in range(40)]


@pytest.fixture(autouse=True)
def tries_follow_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again soon, and look for the dead often."""
    monkeypatch.setattr("camb_async.stores._insisting._BACKOFF", QUICK)
    monkeypatch.setattr("camb_async.stores._postgres._REAP_EVERY", 0.25)


async def is_taken_for_dead(dsn: str) -> None:
    """Have the leases of all end at once."""
    await ask(dsn, "delete from camb_worker")


def test_a_worker_whose_lease_has_ended_is_refused_everything(dsn: str) -> None:
    """It gets nothing, records nothing, and cannot touch what others hold."""

    async def main() -> None:
        async with PostgresStore(dsn, lease=0.3) as store:
            await store.add(["a", "b"])
            await store.join(OLD)
            [a] = await store.claim(OLD, 1)
            async with PostgresStore(dsn, lease=30.0) as other:
                await other.join(NEW)
                await eventually(dsn, "select count(*) = 1 from camb_worker")
                assert 2 == len(await other.claim(NEW, 9))

                assert [a.watch] == await store.record(OLD, [told(a, "SUCCESS")])
                assert [] == await store.claim(OLD, 9)
                assert not await store.survived(OLD, [a.watch])
                assert not await store.beat(OLD)
                await store.release(OLD)
                assert [a.watch] == await store.record(OLD, [told(a, "SUCCESS")])
                assert 0 == await ask(dsn, "select count(*) from camb_event")
                assert 2 == await ask(dsn, "select count(owner) from camb_task")
                # Of the worker that died with it, a has one attempt more.
                assert 3 == await ask(dsn, "select sum(attempts) from camb_task")

    run(main())


def test_a_claim_and_the_end_of_a_lease_exclude_each_other(dsn: str) -> None:
    """Whichever comes first: no task is left with a worker that is gone."""

    async def main() -> None:
        async with PostgresStore(dsn, lease=30.0) as store:
            await store.add(NAMES)
            for number in range(40):
                owner = f"{number:032x}"
                await store.join(owner)
                await asyncio.gather(
                    store.claim(owner, 5), is_taken_for_dead(dsn), store.beat(owner)
                )
                await store.release(owner)
                assert 40 == await ask(dsn, FREE)
                # None is a suspect, which would be claimed alone and be parked.
                await ask(dsn, "update camb_task set attempts = 0")

    run(main())


class Deaf(PostgresStore):
    """A store that takes no word from a worker for a while."""

    is_deaf = False
    ignored = 0

    def _ignore(self) -> None:
        if self.is_deaf:
            self.ignored += 1
            message = "There is no answer."
            raise StoreError(message, retryable=True)

    async def record(self, owner: str, transitions: Sequence[Transition]) -> list[str]:
        """Fail, or record."""
        self._ignore()
        return await super().record(owner, transitions)

    async def survived(self, owner: str, watches: Sequence[str]) -> bool:
        """Fail, or take note."""
        self._ignore()
        return await super().survived(owner, watches)


async def begins_anew(store: Deaf, dsn: str, holder: str) -> None:
    """Have a worker taken for dead while it is not heard, and get its task again."""
    await until(lambda: store.ignored > 0)
    await is_taken_for_dead(dsn)
    anew = "select count(*) = 1 from camb_task where owner <> $1::uuid"
    await eventually(dsn, anew, holder)
    store.is_deaf = False


def test_what_was_seen_before_beginning_anew_is_not_recorded_after_it(dsn: str) -> None:
    """It has a number that the next change has, too; one of them would be lost."""
    source = FakeStatusSource({"a": ["PENDING"]})

    async def main() -> set[int]:
        async with Deaf(dsn, lease=0.3) as store, asyncio.TaskGroup() as group:
            await store.add("a")
            group.create_task(work(source, store, schedule=SOON, until_empty=True))
            transitions = store.transitions(until_empty=True)
            first = await anext(transitions)
            holder = await ask(dsn, "select owner from camb_task")
            store.is_deaf = True
            source.script("a", "QUEUED")
            await until(lambda: store.ignored > 0)
            source.script("a", "SUCCESS")
            await begins_anew(store, dsn, holder)
            async with asyncio.timeout(10):
                rest = [each async for each in transitions]
            return {each.key[1] for each in (first, *rest) if each.key}

    assert {1, 2} == run(main())


def test_a_worker_that_began_anew_vouches_for_what_it_got_again(dsn: str) -> None:
    """Else it would be taken for one on trial, and be given nothing more."""
    source = FakeStatusSource()

    async def main() -> None:
        async with Deaf(dsn, lease=0.3) as store:
            await store.add("a")
            await store.join(OLD)
            [a] = await store.claim(OLD, 1)
            await store.record(OLD, [told(a, "PENDING")])
            await store.release(OLD)
            store.is_deaf = True
            working = asyncio.create_task(work(source, store, schedule=SOON))
            await until(lambda: store.ignored > 0)
            holder = await ask(dsn, "select owner from camb_task")
            await begins_anew(store, dsn, holder)
            await eventually(dsn, "select attempts = 0 from camb_task")
            working.cancel()
            await asyncio.wait([working])

    run(main())


@pytest.mark.parametrize("status", ["PENDING", "SUCCESS"])
def test_a_worker_that_is_given_up_and_lives_clears_what_it_polled(
    dsn: str, status: str
) -> None:
    """Whoever holds it by now; and it finds out by being refused, not at its beat."""
    source = FakeStatusSource({"a": [status], "b": ["PENDING"]})

    async def main() -> None:
        async with PostgresStore(dsn, lease=300.0) as store:
            await store.add(["a", "b"])
            await store.join(OLD)
            tasks = await store.claim(OLD, 9)
            await store.record(OLD, [told(each, "PENDING") for each in tasks])
            await is_taken_for_dead(dsn)
            # So the worker is to say that they do not end it.
            await ask(dsn, "update camb_task set attempts = 1")
            await store.join(NEW)
            polled, may_answer = asyncio.Event(), asyncio.Event()

            class Slow(FakeStatusSource):
                async def poll(self, task: TaskRef, /) -> TaskState:
                    polled.set()
                    await may_answer.wait()
                    return await source.poll(task)

            working = asyncio.create_task(work(Slow(), store, schedule=SOON))
            await polled.wait()
            await ask(dsn, "delete from camb_worker where id <> $1::uuid", NEW)
            assert [3, 3] == [each.claims for each in await store.claim(NEW, 9)]
            may_answer.set()
            await eventually(dsn, "select max(attempts) = 0 from camb_task")
            assert 2 == await ask(
                dsn, "select count(*) from camb_task where owner = $1::uuid", NEW
            )
            working.cancel()
            await asyncio.wait([working])

    run(main())


def test_whoever_holds_something_shows_that_it_lives(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker and a reader, each in time for a lease of its own, however short."""
    monkeypatch.setattr("camb_async.stores._postgres._REAP_EVERY", 60.0)

    async def main() -> None:
        async with PostgresStore(dsn, lease=3.0) as store:
            await store.deliver(1)
            working = asyncio.create_task(work(FakeStatusSource(), store))
            expires = "select min(expires) from camb_worker"
            await eventually(dsn, "select count(*) = 2 from camb_worker")
            first = await ask(dsn, expires)
            await eventually(dsn, f"select ({expires}) > $1", first)
            working.cancel()
            await asyncio.wait([working])

    run(main())


def test_a_sign_of_life_is_one_statement(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many tasks are held; and a thousand of them leave the tables as big."""
    made: list[str] = []
    fetch = _server.Server.fetch

    async def counted(self: _server.Server, statement: str, *given: object) -> object:
        made.append(statement)
        return await fetch(self, statement, *given)

    monkeypatch.setattr(_server.Server, "fetch", counted)
    # The rows and the indexes, without the maps that the server makes when it likes.
    size = (
        "select sum(pg_relation_size(oid)) from pg_class "
        "where relkind in ('r', 'i') "
        "and relname ~ '^camb_(task|event|dropped)'"
    )

    async def main() -> None:
        async with PostgresStore(dsn) as store:
            await store.add([f"task-{number}" for number in range(2000)])
            await store.join(OLD)
            while await store.claim(OLD, 250):
                pass
            before = await ask(dsn, size)
            made.clear()
            for _ in range(1000):
                assert await store.beat(OLD)
            beats = [each for each in made if "expires = now()" in each]
            assert 1000 == len(beats)
            assert before == await ask(dsn, size)
            workers = "select pg_total_relation_size('camb_worker')"
            assert 200_000 > await ask(dsn, workers)

    run(main())


class SkewedDatetime(datetime):
    """The time of day on a machine whose clock is wrong."""

    skew = timedelta()

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Self:
        """Return the wrong time."""
        return super().now(tz) + cls.skew


@pytest.mark.parametrize("hours", [-1, 1])
def test_the_clock_of_a_worker_does_not_matter(
    dsn: str, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    """An hour wrong: leases, deadlines and times are those of the server."""
    real = time.time
    monkeypatch.setattr(SkewedDatetime, "skew", timedelta(hours=hours))
    monkeypatch.setattr("camb_async._engine.datetime", SkewedDatetime)
    monkeypatch.setattr(time, "time", lambda: real() + 3600 * hours)
    source = FakeStatusSource({"a": ["PENDING", "PENDING", "SUCCESS"]})

    async def main() -> list[Transition]:
        async with PostgresStore(dsn) as store, asyncio.TaskGroup() as group:
            await store.add("a", deadline=1800.0)
            await store.add("late", deadline=0.5)
            group.create_task(work(source, store, schedule=SOON, until_empty=True))
            return [each async for each in store.transitions(until_empty=True)]

    transitions = run(main())
    ends = {each.task_id: each for each in transitions if each.is_final}
    assert ends["a"].error is None
    assert isinstance(ends["late"].error, DeadlineExceededError)
    assert 4 == len(transitions)
    for each in transitions:
        assert timedelta(seconds=30) > abs(datetime.now(UTC) - each.at)
        assert 0.0 <= each.elapsed < 30.0


@pytest.mark.slow
def test_workers_that_start_together_share_what_there_is(dsn: str) -> None:
    """None has more than two batches more than another, and none too many."""
    with fleet(dsn, step=60.0, lease=10.0) as workers:
        workers.start(3)
        workers.add(3000)
        workers.until(f"select 0 = ({FREE})")
        held = [
            row["held"]
            for row in workers.rows(
                "select count(*) as held from camb_task group by owner"
            )
        ]

        assert 3 == len(held)
        assert 500 >= max(held) - min(held)


@pytest.mark.slow
def test_nobody_ever_holds_more_than_the_capacity(dsn: str) -> None:
    """Not while tasks end, and not when a worker is killed and others take over."""
    most = (
        "select coalesce(max(held), 0) from (select count(*) as held from camb_task "
        "where owner is not null group by owner) as each"
    )
    with fleet(dsn, step=0.01) as workers:
        workers.add(1000)
        running = workers.start(3, capacity=130)
        ends = time.monotonic() + 40.0
        while workers.ask("select count(*) > 0 from camb_task"):
            assert 130 >= workers.ask(most)
            assert time.monotonic() < ends
            if running and workers.ask(HOLDERS) == 3:
                running.pop().kill()
                running = []
        workers.check(1000)
