"""What adding, discarding, reading and deadlines promise across processes."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Iterable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from camb_async import (
    DeadlineExceededError,
    PostgresStore,
    StoreError,
    Transition,
    work,
)
from tests.fakes import FakeStatusSource
from tests.helpers import QUICK, SOON, run, until
from tests.storing import told

from .stage import Fleet, ask, do, eventually, fleet


ME, OTHER = "0" * 32, "1" * 32
NAMES = [f"task-{number}" for number in range(100)]


@pytest.fixture(autouse=True)
def the_dead_are_found_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look for dead workers and readers often, and try again soon."""
    monkeypatch.setattr("camb_async.stores._postgres._REAP_EVERY", 0.25)
    monkeypatch.setattr("camb_async.stores._insisting._BACKOFF", QUICK)


async def read(store: PostgresStore) -> list[Transition]:
    """Return what is delivered until nothing is left."""
    return [transition async for transition in store.transitions(until_empty=True)]


async def recorded(store: PostgresStore, names: Iterable[str] = NAMES) -> None:
    """Have tasks end."""
    await store.add(names)
    await store.join(ME)
    tasks = await store.claim(ME, 999)
    await store.record(ME, [told(stored, "SUCCESS") for stored in tasks])


# Adding and discarding.


def test_the_same_tasks_added_by_two_at_once_are_watched_once(dsn: str) -> None:
    """In whatever order each of them names them."""

    async def main() -> None:
        async with PostgresStore(dsn) as one, PostgresStore(dsn) as two:
            for _ in range(20):
                shuffled = Random(1).sample(NAMES, 100)
                counts = await asyncio.gather(one.add(NAMES), two.add(shuffled))
                assert 100 == sum(counts)
                assert 100 == await one.watching()
                await ask(dsn, "delete from camb_task")

    run(main())


def test_a_task_that_has_ended_is_another_watch_when_it_is_added_again(
    dsn: str,
) -> None:
    """By whichever process: its numbers begin at one, and it has one end."""
    source = FakeStatusSource({"a": ["SUCCESS"]})

    async def main() -> list[Transition]:
        async with PostgresStore(dsn) as one, PostgresStore(dsn) as two:
            for store in (one, two):
                assert 1 == await store.add("a")
                await work(source, store, schedule=SOON, until_empty=True)
            return await read(one)

    first, second = run(main())
    assert first.key is not None
    assert second.key is not None
    assert (1, 1) == (first.key[1], second.key[1])
    assert first.key[0] != second.key[0]


def test_a_task_that_another_process_holds_may_be_discarded(dsn: str) -> None:
    """Its worker hears of it and asks no more; what was undelivered is gone."""
    source = FakeStatusSource()

    async def main() -> None:
        async with PostgresStore(dsn) as one, PostgresStore(dsn) as two:
            await one.add(["a", "b"])
            working = asyncio.create_task(work(source, two, schedule=SOON))
            await eventually(dsn, "select count(*) = 2 from camb_event")
            assert await one.discard("a")
            assert not await one.discard("a")
            assert 1 == await ask(dsn, "select count(*) from camb_event")

            def last() -> float:
                return source.polls("a")[-1]

            await until(lambda: 5 < sum(at > last() for at in source.polls("b")))
            working.cancel()
            await asyncio.wait([working])

    run(main())


def test_what_is_recorded_while_a_task_is_discarded_is_dropped_as_well(
    dsn: str,
) -> None:
    """Nothing of it is delivered once discard has returned."""
    slowly = (
        "create function slow() returns trigger as $$ "
        "begin perform pg_sleep(0.3); return new; end $$ language plpgsql; "
        "create trigger slow before insert on camb_event "
        "for each row execute function slow()"
    )

    async def main() -> None:
        async with PostgresStore(dsn) as one, PostgresStore(dsn) as two:
            await one.add("a")
            await one.join(ME)
            [stored] = await one.claim(ME, 9)
            await do(dsn, slowly)
            recording = asyncio.create_task(one.record(ME, [told(stored, "PENDING")]))
            await eventually(
                dsn,
                "select count(*) = 1 from pg_stat_activity "
                "where wait_event = 'PgSleep' and datname = current_database()",
            )
            assert await two.discard("a")
            await recording
            assert 0 == await ask(dsn, "select count(*) from camb_event")

    run(main())


@pytest.mark.parametrize(
    "context", [None, {"wörter": ["日本", "\0", "🎤"], "n": 1.5}, "ß" * 65_536]
)
def test_a_context_comes_back_from_any_process(dsn: str, context: Any) -> None:
    """As it was given, to workers and to readers."""

    async def main() -> None:
        async with PostgresStore(dsn) as one, PostgresStore(dsn) as two:
            await one.add("a", context=context)
            await two.join(ME)
            [stored] = await two.claim(ME, 9)
            assert context == stored.context
            await two.record(ME, [told(stored, "SUCCESS")])
            [transition] = await read(one)
            assert context == transition.context
            with pytest.raises(ValueError, match="context"):
                await one.add("b", context=object())

    run(main())


# Deadlines.


def test_a_deadline_that_passes_while_nobody_watches_ends_a_watch_once(
    dsn: str,
) -> None:
    """Whoever takes over asks once more: the task has ended by then, or is late."""
    source = FakeStatusSource({"done": ["SUCCESS"]})

    async def main() -> list[Transition]:
        async with PostgresStore(dsn) as store:
            await store.add(["done", "late"], deadline=0.3)
            await store.join(ME)
            tasks = await store.claim(ME, 9)
            assert 2 == len(tasks)
            await ask(dsn, "update camb_worker set expires = now()")
            await eventually(dsn, "select max(deadline_at) < now() from camb_task")
            await work(source, store, schedule=SOON, until_empty=True)
            # What the dead one saw comes too late.
            refused = await store.record(ME, [told(each, "SUCCESS") for each in tasks])
            assert 2 == len(refused)
            return await read(store)

    ends = {each.task_id: each for each in run(main()) if each.is_final}
    assert ends["done"].error is None
    assert isinstance(ends["late"].error, DeadlineExceededError)
    assert ends["late"].elapsed >= 0.3
    assert {"done": 1, "late": 1} == {n: len(source.polls(n)) for n in ends}


@pytest.mark.slow
def test_deadlines_pass_while_workers_are_killed(dsn: str) -> None:
    """Each of 300 tasks has one end, by success or by its deadline."""
    with fleet(dsn, step=0.02) as workers:
        workers.add(300, deadline=3.0)
        running = workers.start(2)
        for _ in range(4):
            time.sleep(0.7)
            running.pop(0).kill()
            running += workers.start()
        workers.until_over()
        ends = workers.rows(
            "select count(*) as ends, count(error) as late from camb_event "
            "where final group by watch"
        )

        assert 300 == len(ends)
        assert {1} == {row["ends"] for row in ends}
        assert 0 < sum(row["late"] for row in ends) < 300


# Reading.


def test_what_a_dead_reader_had_is_delivered_to_another(dsn: str) -> None:
    """What it did not acknowledge, under the same keys, once."""

    async def main() -> None:
        async with PostgresStore(dsn) as one, PostgresStore(dsn) as two:
            await recorded(one)
            dead = one.transitions()
            handled = [await anext(dead) for _ in range(11)]
            acknowledged = "select count(*) = 90 from camb_event"
            await eventually(dsn, acknowledged)
            await ask(dsn, "update camb_worker set expires = now()")
            await eventually(dsn, "select count(reader) = 0 from camb_event")
            others = await read(two)
            assert 90 == len(others)
            assert handled[-1].key in {each.key for each in others}

    run(main())


def test_a_reader_that_was_taken_for_dead_reads_on(dsn: str) -> None:
    """What it had not handed out comes again; nothing is left lying."""

    async def main() -> None:
        async with PostgresStore(dsn, lease=0.3) as store:
            await recorded(store)
            transitions = store.transitions(until_empty=True)
            told = [await anext(transitions)]
            for _ in range(3):
                await ask(dsn, "delete from camb_worker")
                told += [await anext(transitions) for _ in range(20)]
            told += [each async for each in transitions]
            assert 100 == len({each.key for each in told})
            await eventually(dsn, "select count(*) = 0 from camb_event")

    run(main())


def test_readers_in_several_processes_share_and_end_together(dsn: str) -> None:
    """Each transition goes to one of them, while two workers record."""
    source = FakeStatusSource({n: ["PENDING", "QUEUED", "SUCCESS"] for n in NAMES})

    async def process() -> list[Transition]:
        async with PostgresStore(dsn) as store, asyncio.TaskGroup() as group:
            group.create_task(work(source, store, schedule=SOON, until_empty=True))
            readers = [group.create_task(read(store)) for _ in range(2)]
        return [each for reader in readers for each in reader.result()]

    async def main() -> list[Transition]:
        async with PostgresStore(dsn) as store:
            await store.add(NAMES)
            one, two = await asyncio.gather(process(), process())
            return one + two

    transitions = run(main())
    keys = [each.key for each in transitions]
    assert len(keys) == len(set(keys))
    assert 100 == sum(each.is_final for each in transitions)


def told_keys(path: Path) -> list[tuple[str, int]]:
    """Return what a reader was delivered; a line may be cut by a kill."""
    lines = path.read_text().splitlines(keepends=True)
    told = [json.loads(line) for line in lines if line.endswith("\n")]
    return [(watch, seq) for _, (watch, seq), _, _ in told]


def start_reading(workers: Fleet, path: Path) -> Any:
    """Start a reader."""
    path.touch()
    [reader] = workers.start(read=str(path))
    return reader


@pytest.mark.slow
def test_a_frozen_reader_keeps_nothing_from_others(dsn: str, tmp_path: Path) -> None:
    """They go on, and have what it had when its lease has ended."""
    slow, quick = tmp_path / "slow", tmp_path / "quick"
    with fleet(dsn, step=0.01) as workers:
        workers.add(1000)
        frozen = start_reading(workers, slow)
        workers.start()
        while not told_keys(slow):
            time.sleep(0.01)
        frozen.send_signal(signal.SIGSTOP)
        start_reading(workers, quick)
        workers.until_over()
        workers.until("select count(*) = 0 from camb_event")
        both = {*told_keys(slow), *told_keys(quick)}
        frozen.send_signal(signal.SIGCONT)

        assert 1000 == len({watch for watch, _ in both})


@pytest.mark.slow
def test_readers_may_be_killed_at_any_moment(dsn: str, tmp_path: Path) -> None:
    """All is delivered; again only what was not acknowledged, under its key."""
    random = Random(5)
    paths = [tmp_path / str(number) for number in range(10)]
    with fleet(dsn, step=0.01) as workers:
        workers.add(1000)
        workers.start()
        for path in paths[:-1]:
            reader = start_reading(workers, path)
            time.sleep(random.uniform(0.0, 1.0))
            reader.kill()
        start_reading(workers, paths[-1])
        workers.until_over()
        workers.until("select count(*) = 0 from camb_event")
        told = [key for path in paths for key in told_keys(path)]

    assert 1000 == len({watch for watch, _ in told})
    seqs = {watch: {seq for each, seq in told if each == watch} for watch, _ in told}
    assert all(seq == set(range(1, len(seq) + 1)) for seq in seqs.values())


# Leaving, and other versions.


@pytest.mark.parametrize("times", [1, 2, 5])
def test_a_worker_may_be_cancelled_wherever_it_is(dsn: str, times: int) -> None:
    """Also again, while it leaves: it gives back what it holds all the same."""
    source = FakeStatusSource({"a": ["PENDING", "QUEUED"]})

    async def main() -> None:
        async with PostgresStore(dsn) as store:
            await store.add(["a", "b"])
            for step in range(40):
                working = asyncio.create_task(work(source, store, schedule=SOON))
                await asyncio.sleep(step / 4000)
                for _ in range(times):
                    working.cancel()
                    await asyncio.sleep(0)
                await asyncio.wait([working])
                assert working.cancelled()
                free = "select count(*) from camb_task where owner is null"
                assert 2 == await ask(dsn, free)
                assert 0 == await ask(dsn, "select count(*) from camb_worker")

    run(main())


def test_a_reader_may_be_cancelled_wherever_it_is(dsn: str) -> None:
    """What it was given goes to the next one, and nothing is told twice."""

    async def main() -> None:
        async with PostgresStore(dsn) as store:
            await recorded(store)
            transitions = store.transitions(until_empty=True)
            told: list[object] = []
            for step in range(60):
                reading = asyncio.ensure_future(anext(transitions))
                await asyncio.sleep(step / 20_000)
                reading.cancel()
                await asyncio.wait([reading])
                if not reading.cancelled():
                    told.append(reading.result().key)
            told += [each.key async for each in transitions]
            assert 100 == len(told)
            assert 100 == len(set(told))

    run(main())


def test_whoever_waits_is_told_when_the_store_is_closed(dsn: str) -> None:
    """Readers and workers, and what a reader was given goes to the next one."""

    async def main() -> None:
        async with PostgresStore(dsn) as other:
            async with PostgresStore(dsn) as store:
                await other.add(["a", "b"])
                loops = [store.transitions() for _ in range(3)]
                waiting = [
                    asyncio.ensure_future(work(FakeStatusSource(), store)),
                    *(asyncio.ensure_future(anext(loop)) for loop in loops),
                ]
                await until(lambda: 2 == sum(each.done() for each in waiting))
            async with asyncio.timeout(10):
                await asyncio.wait(waiting)
            failures = [each.exception() for each in waiting]
            assert 2 == sum(isinstance(each, StoreError) for each in failures)
            assert 2 == failures.count(None)
            await eventually(dsn, "select count(reader) = 0 from camb_event")
            assert 2 == len(await other.deliver(9))

    run(main())


def test_versions_that_can_share_the_tables_do(dsn: str) -> None:
    """Columns that are not known here are left alone; what is too new is refused."""
    newer = (
        "alter table camb_task add column shade text not null default 'grey'; "
        "alter table camb_event add column shade text not null default 'grey'; "
        "alter table camb_worker add column shade text not null default 'grey'; "
        "update camb_schema set version = 2"
    )
    source = FakeStatusSource({"a": ["PENDING", "SUCCESS"]})

    async def main() -> None:
        async with PostgresStore(dsn) as old:
            await recorded(old)
            assert 100 == len(await read(old))
            await do(dsn, newer)
            async with PostgresStore(dsn) as store:
                await store.add("a")
                await work(source, old, schedule=SOON, until_empty=True)
                assert 2 == len(await read(store))
        await ask(dsn, "update camb_schema set oldest = 2")
        with pytest.raises(StoreError, match="newer camb_async"):
            await PostgresStore(dsn).__aenter__()

    run(main())
