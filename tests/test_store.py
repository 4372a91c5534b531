"""The stores: what holds wherever tasks are, and whom a file lets in."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from camb_async import (
    InvalidTaskIdError,
    SqliteStore,
    StoredTask,
    StoreError,
    TaskFailedError,
    TaskKind,
    TaskRef,
    TaskStatus,
    Transition,
    store_at,
    work,
)
from camb_async.stores._delivery import Delivery

from .cli_process import environment
from .fakes import FakeStatusSource, state
from .helpers import open_files, run
from .storing import (
    ME,
    ONE,
    TWO,
    claimed,
    no_thread_left,
    open_store,
    quick_with_a_file,
    read,
    told,
)


NAMES = "voices.db", "voices.db.lock"
BIG = "ß" * 65_536


# What is added, and how it comes back.


@pytest.mark.parametrize("context", [None, {"chat": 1, "wörter": ["日本", None]}, BIG])
def test_a_context_comes_back_with_each_transition(where: str, context: object) -> None:
    """Also after the store was closed and opened again."""

    async def main() -> None:
        async with store_at(where) as store:
            await store.add("a", context=context)
        async with store_at(where) as store:
            (stored,) = await claimed(store)
            await store.record(ME, [told(stored, "SUCCESS")])
            (transition,) = await read(store, 1)

        assert context == stored.context
        assert context == transition.context

    run(main())


def test_all_of_a_transition_comes_back(where: str) -> None:
    """Task, states, error, times and counts are those that were recorded."""
    began = datetime(2026, 1, 2, 3, 4, 5, 678_901, UTC)
    task = TaskRef("a", TaskKind.DUB, began)

    async def main() -> None:
        async with store_at(where) as store:
            await store.add([task], context=[1])
            (stored,) = await claimed(store)
            ended = state("ERROR")
            error = TaskFailedError("No.", task=task, state=ended)
            sent = told(
                stored,
                "ERROR",
                previous=TaskStatus.PENDING,
                error=error,
                at=datetime.now(UTC) - timedelta(hours=1),
                elapsed=3.25,
                uncertainty=0.125,
            )
            assert [] == await store.record(ME, [sent])
            (back,) = await read(store, 1)

        assert began == stored.task.created_at
        assert began == back.task.created_at
        assert isinstance(back.error, TaskFailedError)
        assert (task, ended, "No.") == (back.error.task, back.error.state, str(error))
        assert sent.key == back.key
        for name in ("task", "previous", "state", "elapsed", "uncertainty"):
            assert getattr(sent, name) == getattr(back, name)
        # A server counts by its own clock.
        assert abs(sent.at - back.at) < timedelta(minutes=1)

    run(main())


def test_a_task_is_added_once_while_it_is_watched(where: str) -> None:
    """Its context and its watch stay; kinds have ids of their own."""

    async def main() -> None:
        async with store_at(where) as store:
            assert 2 == await store.add(["a", "a", "b"], context=1)
            assert 1 == await store.add(["a", TaskRef("a", TaskKind.DUB)], context=2)
            assert 0 == await store.add([])
            assert 3 == await store.watching()
            assert [1, 1, 2] == [each.context for each in await claimed(store)]

    run(main())


def test_a_task_that_has_ended_may_be_added_again(where: str) -> None:
    """It is another watch then, whose numbers begin at one."""

    async def main() -> None:
        async with store_at(where) as store:
            keys: list[object] = []
            for _ in range(2):
                (stored,) = await claimed(store, "a")
                await store.record(ME, [told(stored, "SUCCESS")])
                assert 0 == await store.watching()
            keys = [t.key for t in await read(store, 2)]

            assert 2 == len(set(keys))
            assert [1, 1] == [key[1] for key in keys if isinstance(key, tuple)]

    run(main())


def test_what_is_refused_adds_nothing(where: str) -> None:
    """A bad id among good ones, no JSON, no deadline."""

    async def main() -> None:
        async with store_at(where) as store:
            with pytest.raises(InvalidTaskIdError):
                await store.add(["a", "not/an/id"])
            with pytest.raises(ValueError, match="context"):
                await store.add("a", context=object())
            with pytest.raises(ValueError, match="deadline"):
                await store.add("a", deadline=-1.0)

            assert 0 == await store.watching()

    run(main())


# Who holds what.


def test_each_task_is_held_by_one_worker(where: str) -> None:
    """The oldest go first, and what is released goes to the next."""

    async def main() -> None:
        async with store_at(where) as store:
            for name in ("c", "a", "b"):
                await store.add(name)
            await store.join(ONE)
            await store.join(TWO)
            first = await store.claim(ONE, 2)
            second = await store.claim(TWO, 2)
            assert ["c", "a"] == [each.task.task_id for each in first]
            assert ["b"] == [each.task.task_id for each in second]

            await store.release(ONE)
            again = await store.claim(TWO, 5)
            assert [each.watch for each in first] == [each.watch for each in again]
            assert not await store.beat(ONE)
            assert await store.beat(TWO)

    run(main())


def test_what_an_earlier_worker_writes_is_refused(where: str) -> None:
    """A task that was given to another stays as it is."""

    async def main() -> None:
        async with store_at(where) as store:
            stored = await claimed(store, "a", "b", owner=ONE)
            await store.release(ONE)
            await claimed(store, owner=TWO)
            late = [told(each, "SUCCESS") for each in stored]
            assert [each.watch for each in stored] == await store.record(ONE, late)
            assert 2 == await store.watching()
            assert [] == await store.deliver(9)

            assert [] == await store.record(TWO, late)
            assert 2 == len(await store.deliver(9))

    run(main())


def test_the_same_may_be_recorded_again(where: str) -> None:
    """Where the answer was lost, the call is made again, and nothing is doubled."""

    async def main() -> None:
        async with store_at(where) as store:
            (stored,) = await claimed(store, "a")
            batch = [told(stored, "PENDING"), told(stored, "UNKNOWN", 2)]
            for _ in range(3):
                assert [] == await store.record(ME, batch)
            end = [told(stored, "SUCCESS", 3)]
            assert [] == await store.record(ME, end)
            assert [stored.watch] == await store.record(ME, end)

            delivered = await store.deliver(9)
            assert [1, 2, 3] == [t.key[1] for t in delivered if t.key]

    run(main())


def test_a_claim_goes_on_from_what_is_recorded(where: str) -> None:
    """The last state, the number and the polls outlast the process."""

    async def main() -> None:
        async with store_at(where) as store:
            (stored,) = await claimed(store, "a")
            await store.record(ME, [told(stored, "PENDING", polls=7)])
            await store.release(ME)
        async with store_at(where) as store:
            (again,) = await claimed(store)

        assert state("PENDING") == again.last_state
        assert (stored.watch, 1, 7) == (again.watch, again.seq, again.polls)
        # A server counts by its own clock, so it is no more exact than that.
        assert stored.deadline_at == pytest.approx(again.deadline_at, abs=60)
        assert again.last_at is not None
        assert abs(time.time() - again.last_at) < 60

    run(main())


def test_a_discarded_task_is_forgotten(where: str) -> None:
    """With what is undelivered of it; whoever holds it is told, once."""

    async def main() -> None:
        async with store_at(where) as store:
            a, b = await claimed(store, "a", "b")
            await store.record(ME, [told(a, "PENDING"), told(b, "PENDING")])
            (first,) = await store.deliver(1)
            await store.record(ME, [told(a, "UNKNOWN", 2)])
            assert await store.discard("a")
            store.requeue([first])
            assert not await store.discard("a")
            assert not await store.discard("never-added")
            assert [a.watch] == await store.dropped(ME)
            assert [] == await store.dropped(ME)
            assert [a.watch] == await store.record(ME, [told(a, "SUCCESS", 3)])

            assert ["b"] == [t.task_id for t in await store.deliver(9)]

    run(main())


# How it is read.


def test_coming_back_for_the_next_acknowledges(where: str) -> None:
    """What the loop was left with comes again after a restart, and no more."""

    async def main() -> None:
        async with store_at(where) as store:
            stored = await claimed(store, "a", "b", "c")
            await store.record(ME, [told(each, "SUCCESS") for each in stored])
            assert ["a", "b"] == [t.task_id for t in await read(store, 2)]
        async with store_at(where) as store:
            names = [t.task_id async for t in store.transitions(until_empty=True)]
            assert ["b", "c"] == names
        async with store_at(where) as store:
            assert [] == [t async for t in store.transitions(until_empty=True)]

    run(main())


def test_a_loop_may_be_left_and_taken_up_again(where: str) -> None:
    """With the same iterator, which acknowledges then."""

    async def main() -> None:
        async with store_at(where) as store:
            stored = await claimed(store, "a", "b", "c")
            await store.record(ME, [told(each, "SUCCESS") for each in stored])
            transitions = store.transitions(until_empty=True)
            async for transition in transitions:
                assert "a" == transition.task_id
                break

            assert ["b", "c"] == [t.task_id async for t in transitions]

    run(main())


def test_what_a_loop_failed_at_is_delivered_again(where: str) -> None:
    """To the next loop, in the same process, first of all."""

    async def main() -> None:
        async with store_at(where) as store:
            stored = await claimed(store, "a", "b")
            await store.record(ME, [told(each, "SUCCESS") for each in stored])
            with contextlib.suppress(ZeroDivisionError):
                async for _ in store.transitions():
                    raise ZeroDivisionError
            gc.collect()
            await asyncio.sleep(0)

            names = [t.task_id async for t in store.transitions(until_empty=True)]
            assert ["a", "b"] == names

    run(main())


def test_an_iterator_from_before_gives_nothing_back(where: str) -> None:
    """Where the store was opened anew meanwhile, it has it anyway."""

    async def main() -> None:
        store = store_at(where)
        async with store:
            (stored,) = await claimed(store, "a")
            await store.record(ME, [told(stored, "SUCCESS")])
            transitions = store.transitions()
            await anext(transitions)
        async with store:
            del transitions
            gc.collect()
            await asyncio.sleep(0)

            assert 1 == len(await store.deliver(9))
            assert [] == await store.deliver(9)

    run(main())


def test_an_iterator_may_outlive_its_event_loop(where: str) -> None:
    """There is nobody left to give anything back to."""

    async def main() -> object:
        async with store_at(where) as store:
            (stored,) = await claimed(store, "a")
            await store.record(ME, [told(stored, "SUCCESS")])
            transitions = store.transitions()
            await anext(transitions)
        return transitions

    transitions = run(main())
    del transitions
    gc.collect()


def test_several_readers_share_what_there_is(where: str) -> None:
    """Each transition goes to one of them, and all end."""

    async def main() -> None:
        async with store_at(where) as store:
            names = [f"task-{number}" for number in range(300)]
            stored = await claimed(store, *names)
            await store.record(ME, [told(each, "SUCCESS") for each in stored])

            async def reader() -> list[str]:
                return [t.task_id async for t in store.transitions(until_empty=True)]

            shares = await asyncio.gather(*(reader() for _ in range(4)))
            assert sorted(names) == sorted(chain(*shares))

    run(main())


def test_readers_wait_for_more(where: str) -> None:
    """And a discarded task is an end, too, for those that wait until there is none."""

    async def main() -> None:
        async with store_at(where) as store:
            stored, _ = await claimed(store, "a", "b")
            transitions = store.transitions(until_empty=True)
            waiting = asyncio.ensure_future(anext(transitions))
            await store.record(ME, [told(stored, "SUCCESS")])
            assert "a" == (await waiting).task_id

            waiting = asyncio.ensure_future(anext(transitions))
            await store.discard("b")
            with pytest.raises(StopAsyncIteration):
                await waiting

    run(main())


def test_leaving_the_block_ends_readers_and_workers(where: str) -> None:
    """They are told that the store is not open any more, and do not wait for ever."""

    async def main() -> None:
        async with store_at(where) as store:
            await store.add("a")
            working = asyncio.create_task(work(FakeStatusSource(), store))
            transitions = store.transitions()
            await anext(transitions)
            reading = asyncio.ensure_future(anext(transitions))
            await asyncio.sleep(0.05)
        for waiting in (reading, working):
            with pytest.raises(StoreError, match="not open"):
                await waiting

    run(main())


# Who is let in.


def test_a_second_store_is_refused_while_the_first_is_open(tmp_path: Path) -> None:
    """Not silently mixed, also within one process; the message says who has it."""

    async def main() -> None:
        async with open_store(tmp_path) as store:
            with pytest.raises(StoreError, match="make a second store"):
                await store.__aenter__()
            with pytest.raises(StoreError, match=f"held by process {os.getpid()}"):
                await open_store(tmp_path).__aenter__()
            assert 1 == await store.add("a")
        async with open_store(tmp_path) as store:
            assert 1 == await store.watching()
        await no_thread_left()

    run(main())


def test_a_link_leads_to_the_same_lock(tmp_path: Path) -> None:
    """A file has one lock, by whatever name it is opened."""
    (tmp_path / "link.db").symlink_to(tmp_path / "voices.db")

    async def main() -> None:
        async with open_store(tmp_path):
            with pytest.raises(StoreError, match="held by process"):
                await SqliteStore(tmp_path / "link.db").__aenter__()

    run(main())


SECOND = """
import asyncio, sys
from camb_async import SqliteStore, StoreError

async def main():
    try:
        async with SqliteStore(sys.argv[1]) as store:
            print("in", flush=True)
            sys.stdin.read()
    except StoreError as error:
        print(error)

asyncio.run(main())
"""


def second_process(tmp_path: Path) -> subprocess.Popen[str]:
    """Start a process that holds the store until it is told or killed."""
    return subprocess.Popen(  # noqa: S603 - our own script
        [sys.executable, "-c", SECOND, str(tmp_path / "voices.db")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment(),
        text=True,
    )


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    """It is told which process holds the file."""

    async def main() -> str:
        async with open_store(tmp_path):
            second = second_process(tmp_path)
            said, _ = await asyncio.to_thread(second.communicate, "")
            return said

    assert f"held by process {os.getpid()}." in run(main())


def test_the_lock_of_a_dead_process_holds_nobody_up(tmp_path: Path) -> None:
    """After SIGKILL the file is free at once, and what was held is, too."""
    with second_process(tmp_path) as second:
        assert second.stdout is not None
        assert "in\n" == second.stdout.readline()

        async def refused() -> None:
            with pytest.raises(StoreError, match=f"held by process {second.pid}"):
                await open_store(tmp_path).__aenter__()

        run(refused())
        second.kill()
        second.wait()

    async def main() -> None:
        async with open_store(tmp_path) as store:
            assert 0 == await store.watching()

    run(main())


def foreign(path: Path) -> None:
    """Make a database of something else."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("create table mine(x)")


def newer(path: Path) -> None:
    """Make a store of the next version."""

    async def main() -> None:
        async with SqliteStore(path):
            pass

    asyncio.run(main())
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("pragma user_version = 2")


BAD_FILES: list[tuple[str, Callable[[Path], Any]]] = [
    ("is not a database", lambda path: path.write_bytes(b"no database at all" * 99)),
    ("of something else", foreign),
    ("newer camb_async .version 2 .*knows 1", newer),
    ("is a directory", lambda path: path.mkdir()),
]


@pytest.mark.parametrize(("words", "make"), BAD_FILES, ids=lambda each: str(each)[:9])
def test_what_is_no_store_is_refused(
    tmp_path: Path, words: str, make: Callable[[Path], Any]
) -> None:
    """It is said why and what to do, and the file is left as it is."""
    path = tmp_path / "voices.db"
    make(path)
    before = None if path.is_dir() else path.read_bytes()
    files = open_files()

    async def main() -> None:
        with pytest.raises(StoreError, match=words):
            await SqliteStore(path).__aenter__()
        await no_thread_left()

    run(main())
    assert before == (None if path.is_dir() else path.read_bytes())
    assert files == open_files()


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    """It is not made, because it may be a slip."""

    async def main() -> None:
        with pytest.raises(StoreError, match="Make its directory"):
            await SqliteStore(tmp_path / "not" / "there.db").__aenter__()
        await no_thread_left()

    run(main())


def test_a_row_that_was_tampered_with_is_told(tmp_path: Path) -> None:
    """The store fails with words, and for good; nothing else is raised."""

    async def tampered() -> None:
        async with open_store(tmp_path) as store:
            await store.join(ME)
            for call in (store.claim(ME, 9), store.deliver(9)):
                with pytest.raises(StoreError, match="cannot be read") as caught:
                    await call
                assert not caught.value.retryable

    async def prepare() -> None:
        async with open_store(tmp_path) as store:
            stored, _ = await claimed(store, "a", "b")
            await store.record(ME, [told(stored, "SUCCESS")])

    run(prepare())
    with contextlib.closing(sqlite3.connect(tmp_path / "voices.db")) as connection:
        connection.execute("update camb_task set context = '{'")
        connection.execute("update camb_event set state = '[1]'")
        connection.commit()
    run(tampered())


# How it ends, and what it leaves.


def test_a_store_may_be_opened_again_in_another_event_loop(where: str) -> None:
    """One object may be used for several runs; closed in between, it says so."""
    store = store_at(where)

    async def once(expected: int) -> None:
        async with store:
            assert "open" in repr(store)
            await store.add(f"task-{expected}")
            assert expected == await store.watching()
        with pytest.raises(StoreError, match="not open"):
            await store.watching()

    for expected in (1, 2, 3):
        run(once(expected))
    assert "closed" in repr(store)


def test_a_closed_store_leaves_nothing_open(tmp_path: Path) -> None:
    """No thread, no descriptor, and no file of SQLite's beside its own."""
    files = open_files()

    async def main() -> None:
        async with open_store(tmp_path) as store:
            await store.add(["a", "b"])
        await no_thread_left()

    run(main())
    assert files == open_files()
    assert sorted(NAMES) == sorted(path.name for path in tmp_path.iterdir())


def test_many_calls_at_once_are_written_together(tmp_path: Path) -> None:
    """One that fails leaves the others alone."""

    def broken(_file: object) -> None:
        message = "This cannot be written."
        raise StoreError(message)

    async def main() -> None:
        async with open_store(tmp_path) as store:
            await store.join(ME)
            adds = [store.add(f"task-{number}") for number in range(600)]
            fails = store._do(broken)  # pyright: ignore[reportPrivateUsage]
            results = await asyncio.gather(*adds, fails, return_exceptions=True)
            assert [1] * 600 == results[:-1]
            assert isinstance(results[-1], StoreError)
            assert 600 == await store.watching()

    run(main())


@quick_with_a_file
@pytest.mark.parametrize("step", range(1, 8))
def test_calls_may_be_cancelled_at_any_moment(where: str, step: int) -> None:
    """Entering, writing, reading, leaving: nothing is left, nothing is lost."""

    async def use() -> None:
        async with store_at(where) as store:
            stored, _ = await claimed(store, "a", "b")
            await store.record(ME, [told(stored, "PENDING")])
            await read(store, 1)
            await asyncio.sleep(10)

    async def main() -> None:
        task = asyncio.create_task(use())
        for _ in range(step):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        await no_thread_left()
        async with store_at(where) as store:
            await claimed(store, "a", "b")
            assert 2 == await store.watching()

    run(main())


def test_a_cancelled_call_is_done_all_the_same(where: str) -> None:
    """What it is told of is on the way: whoever waits for it hears of it."""

    async def main() -> None:
        async with store_at(where) as store:
            news = store.tasks_changed()
            adding = asyncio.create_task(store.add("a"))
            await asyncio.sleep(0)
            adding.cancel()
            await news.wait()

            assert 1 == await store.watching()
            assert adding.cancelled()

    run(main())


def test_a_reader_that_is_cancelled_takes_nothing_along(where: str) -> None:
    """Wherever it is cut off, each transition is delivered to the next."""

    async def main() -> None:
        async with store_at(where) as store:
            stored = await claimed(store, *(f"task-{n}" for n in range(20)))
            await store.record(ME, [told(each, "SUCCESS") for each in stored])
            got: list[str] = []
            transitions = store.transitions(until_empty=True)
            for step in range(200):
                reading = asyncio.ensure_future(anext(transitions))
                for _ in range(step % 6):
                    await asyncio.sleep(0.0001)
                reading.cancel()
                await asyncio.wait([reading])
                if not reading.cancelled() and reading.exception() is None:
                    got.append(reading.result().task_id)
            got += [transition.task_id async for transition in transitions]

            assert [each.task.task_id for each in stored] == got

    run(main())


FULL = """
import asyncio, resource, sys
from camb_async import SqliteStore, StoreError

async def main():
    async with SqliteStore(sys.argv[1]) as store:
        await store.add(["a"])
        size = 256 * 1024
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        try:
            await store.add(["b"], context="x" * 2 * size)
        except StoreError as error:
            print(error.retryable, str(error))
        resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))
        print(await store.add(["b"], context="x" * 2 * size), await store.watching())

asyncio.run(main())
"""


def test_a_full_disk_is_an_error_that_passes(tmp_path: Path) -> None:
    """What was there before stays, and once there is room it goes on."""
    done = subprocess.run(  # noqa: S603 - our own script
        [sys.executable, "-c", FULL, str(tmp_path / "voices.db")],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )

    assert "" == done.stderr
    first, second = done.stdout.splitlines()
    assert first.startswith("True ")
    assert "voices.db cannot be used at the moment" in first
    assert "1 2" == second


def test_a_lock_of_somebody_else_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shell that writes to the file holds calls up, and then they fail."""
    monkeypatch.setattr("camb_async.stores._database._LOCK_PATIENCE", 0.05)

    async def main() -> None:
        async with open_store(tmp_path) as store:
            with contextlib.closing(
                sqlite3.connect(tmp_path / "voices.db", isolation_level=None)
            ) as shell:
                shell.execute("begin immediate")
                with pytest.raises(StoreError, match="locked") as caught:
                    await store.add("a")
                assert caught.value.retryable
                shell.execute("rollback")
            assert 1 == await store.add("a")

    run(main())


@pytest.mark.parametrize(
    "where",
    ["postgre://me:canary@host/db", "me:canary@host/db", "host=canary dbname=db", ""],
)
def test_an_address_of_something_else_is_refused_unseen(where: str) -> None:
    """It is not taken for the path of a file, which would be shown."""
    with pytest.raises(StoreError, match="postgresql://") as caught:
        store_at(where)

    assert "canary" not in str(caught.value)


def test_a_path_may_look_like_anything(tmp_path: Path) -> None:
    """Where it is plain that it is one."""
    assert isinstance(store_at("./me:x@host"), SqliteStore)
    assert isinstance(store_at(tmp_path / "a://b"), SqliteStore)


def test_a_new_loop_begins_with_what_the_failed_one_had(where: str) -> None:
    """In order, though more of the same task was read ahead already."""

    async def main() -> list[int]:
        async with store_at(where) as store:
            (stored,) = await claimed(store, "a")
            for seq, status in enumerate(("PENDING", "QUEUED", "SUCCESS"), 1):
                await store.record(ME, [told(stored, status, seq)])
            seen = list[int]()
            with contextlib.suppress(LookupError):
                async for transition in store.transitions():
                    seen.append((transition.key or ("", 0))[1])
                    raise LookupError
            async for transition in store.transitions(until_empty=True):
                seen.append((transition.key or ("", 0))[1])
            return seen

    assert [1, 1, 2, 3] == run(main())


def test_a_reader_does_not_settle_for_an_older_reading() -> None:
    """What was asked for before there was anything says nothing of now."""
    there, asked = list[Transition](), asyncio.Event()
    stored = StoredTask(
        watch="w", task=TaskRef("a"), context=None, added=0.0, deadline_at=None
    )

    async def read_slowly() -> list[Transition]:
        found = there.copy()
        asked.set()
        await asyncio.sleep(0.01)
        return found

    async def main() -> list[Transition]:
        delivery = Delivery(read_slowly)
        cancelled = asyncio.ensure_future(delivery.take(1))
        await asked.wait()
        cancelled.cancel()
        there.append(told(stored, "SUCCESS"))
        return await delivery.take(1)

    assert [("w", 1)] == [each.key for each in run(main())]
