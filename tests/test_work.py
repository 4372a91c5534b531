"""A worker: watches what a store holds, records what it sees, and leaves in order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import anyio.lowlevel
import pytest

from camb_async import (
    AuthenticationError,
    CambSession,
    DeadlineExceededError,
    FixedInterval,
    PermissionDeniedError,
    SessionClosedError,
    SqliteStore,
    StoredTask,
    StoreError,
    TaskStatus,
    TaskStore,
    TaskWatcher,
    Transition,
    store_at,
    work,
)
from camb_async.stores._insisting import Insisting

from .fakes import FakeStatusSource, refused
from .helpers import QUICK, SOON, run, served, until
from .storing import (
    OTHER,
    no_thread_left,
    open_store,
    quick_with_a_file,
    read,
    statuses,
)


class Shaky(SqliteStore):
    """A store whose workers' calls fail as often as they are told to."""

    def __init__(self, path: Path, failures: int, *, retryable: bool = True) -> None:
        super().__init__(path)
        self.failures = failures
        self.retryable = retryable

    def _fail(self) -> None:
        if self.failures:
            self.failures -= 1
            message = "The disk is full."
            raise StoreError(message, retryable=self.retryable)

    async def claim(self, owner: str, limit: int) -> list[StoredTask]:
        """Fail, or claim."""
        self._fail()
        return await super().claim(owner, limit)

    async def record(self, owner: str, transitions: Sequence[Transition]) -> list[str]:
        """Fail, or record."""
        self._fail()
        return await super().record(owner, transitions)


def empty(source: Any, store: TaskStore, **options: Any) -> Coroutine[Any, Any, None]:
    """Work until there is nothing left."""
    options.setdefault("schedule", SOON)
    return work(source, store, until_empty=True, **options)


async def read_all(store: TaskStore) -> list[Transition]:
    """Return what there is to read until nothing is watched any more."""
    return [transition async for transition in store.transitions(until_empty=True)]


async def cancelled(task: asyncio.Task[Any]) -> None:
    """Cancel a task, which ends by that and in no other way."""
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


def test_every_change_of_every_task_is_delivered(where: str) -> None:
    """Work and reader side by side, as in a program that works through a batch."""
    names = [f"task-{number}" for number in range(50)]
    source = FakeStatusSource({n: ["PENDING", "QUEUED", "SUCCESS"] for n in names})

    async def main() -> list[Transition]:
        async with store_at(where) as store, asyncio.TaskGroup() as group:
            await store.add(names, context={"chat": 1})
            group.create_task(empty(source, store, capacity=7))
            return await read_all(store)

    transitions = run(main())
    for name in names:
        assert ["PENDING", "UNKNOWN", "SUCCESS"] == statuses(transitions, name)
    assert {3} == {t.key[1] for t in transitions if t.key and t.is_final}
    assert len(transitions) == len({t.key for t in transitions})


def test_a_real_service_works_as_well(where: str) -> None:
    """A session of the simulator, all outcomes, some faults."""

    async def main() -> list[Transition]:
        async with (
            served(speed=100) as (simulator, camb),
            store_at(where) as store,
            asyncio.TaskGroup() as group,
        ):
            simulator.add_task("a", answers=["PENDING", "503", "SUCCESS"])
            simulator.add_task("b", answers=["PENDING", "html_200", "ERROR"])
            await store.add(["a", "b"])
            group.create_task(empty(camb, store))
            return await read_all(store)

    transitions = run(main())
    assert ["PENDING", "SUCCESS"] == statuses(transitions, "a")
    assert ["PENDING", "ERROR"] == statuses(transitions, "b")


def test_no_more_is_held_than_the_capacity(where: str) -> None:
    """Other tasks wait for their turn, and another worker may have them."""
    source = FakeStatusSource()

    async def main() -> None:
        async with store_at(where) as store:
            await store.add([f"task-{number}" for number in range(20)])
            working = asyncio.create_task(work(source, store, capacity=3))
            await until(lambda: len({name for _, name in source.asked}) >= 3)
            await store.join(OTHER)
            assert 17 == len(await store.claim(OTHER, 99))
            await cancelled(working)

    run(main())
    assert 3 == len({name for _, name in source.asked})


def test_a_capacity_of_none_is_refused(tmp_path: Path) -> None:
    """It would wait for ever."""
    with pytest.raises(ValueError, match="capacity"):
        run(work(FakeStatusSource(), open_store(tmp_path), capacity=0))


def test_tasks_are_taken_up_as_they_are_added(where: str) -> None:
    """Without a pause; and a discarded one is not polled any more."""
    source = FakeStatusSource({"b": ["SUCCESS"], "c": ["SUCCESS"]})

    async def main() -> None:
        async with store_at(where) as store:
            working = asyncio.create_task(work(source, store, schedule=SOON))
            transitions = store.transitions()
            for name in "ab":
                await store.add(name)
                assert name == (await anext(transitions)).task_id
            await store.discard("a")
            # News come in order, so a worker that knows this knows that, too.
            await store.add("c")
            await until(lambda: "c" in {name for _, name in source.asked})
            polls = len(source.polls("a"))
            await asyncio.sleep(0.1)
            assert polls == len(source.polls("a"))
            await cancelled(working)

    run(main())


def test_a_task_that_is_discarded_and_added_again_is_another(where: str) -> None:
    """First sight is reported again, under another key."""

    async def main() -> None:
        async with store_at(where) as store:
            working = asyncio.create_task(
                work(FakeStatusSource(), store, schedule=SOON)
            )
            keys: set[object] = set()
            for _ in range(5):
                await store.add("a")
                (transition,) = await read(store, 1)
                assert "PENDING" == transition.status
                keys.add(transition.key)
                await store.discard("a")
            await cancelled(working)
            assert 5 == len(keys)

    run(main())


def test_nothing_is_repeated_after_a_restart(where: str) -> None:
    """Each start goes on from what is recorded; seq has no gaps, time goes on."""
    source = FakeStatusSource({"a": ["PENDING"]})
    story = ["PENDING", "QUEUED", "RUNNING", "SUCCESS"]

    async def start(before: str, status: str) -> Transition:
        source.script("a", before, before, status)
        async with store_at(where) as store:
            await store.add("a", context="once")
            working = asyncio.create_task(work(source, store, schedule=SOON))
            transitions = store.transitions()
            transition = await anext(transitions)
            await store.ack([transition])
            await cancelled(working)
        await no_thread_left()
        return transition

    befores = ["PENDING", *story]
    pairs = zip(befores, story, strict=False)
    transitions = [run(start(before, status)) for before, status in pairs]
    seen = [t.state.raw_status for t in transitions if t.state]
    assert story == seen
    assert [1, 2, 3, 4] == [t.key[1] for t in transitions if t.key]
    assert 1 == len({t.key[0] for t in transitions if t.key})
    assert sorted(t.elapsed for t in transitions) == [t.elapsed for t in transitions]
    assert all(t.uncertainty is not None for t in transitions[1:])


def test_what_was_seen_is_recorded_before_leaving(where: str) -> None:
    """A cancelled worker writes down what it has, and gives all back, at once."""
    names = [f"task-{number}" for number in range(100)]
    source = FakeStatusSource({name: ["SUCCESS"] for name in names})

    async def main() -> None:
        async with store_at(where) as store:
            await store.add([*names, "slow"])
            working = asyncio.create_task(work(source, store, schedule=SOON))
            await until(lambda: len(source.asked) >= 100)
            async with asyncio.timeout(5):
                await cancelled(working)
            left = await store.watching()
            await store.join(OTHER)
            free = await store.claim(OTHER, 999)
            assert left == len(free)
            done = await store.deliver(999)

        finals = {t.task_id for t in done if t.is_final}
        assert not finals & {stored.task.task_id for stored in free}
        assert {*names, "slow"} == finals | {stored.task.task_id for stored in free}

    run(main())


@quick_with_a_file
@pytest.mark.parametrize("times", [1, 2, 5])
def test_a_worker_may_be_cancelled_wherever_it_is(where: str, times: int) -> None:
    """Also again, while it leaves: it gives back what it holds all the same."""
    source = FakeStatusSource({"a": ["PENDING", "QUEUED"]})

    async def main() -> None:
        async with store_at(where) as store:
            await store.add(["a", "b"])
            for step in range(40):
                working = asyncio.create_task(work(source, store, schedule=SOON))
                for _ in range(step):
                    await asyncio.sleep(0)
                for _ in range(times):
                    working.cancel()
                    await asyncio.sleep(0)
                await asyncio.wait([working])
                assert working.cancelled()
                await store.join(OTHER)
                assert 2 == len(await store.claim(OTHER, 9))
                await store.release(OTHER)

    run(main())


def test_a_deadline_that_passed_meanwhile_is_final_after_one_poll(
    where: str,
) -> None:
    """Whoever is done by then has succeeded; each has one end."""
    source = FakeStatusSource({"a": ["PENDING"], "b": ["SUCCESS"]})

    async def main() -> list[Transition]:
        async with store_at(where) as store:
            await store.add(["a", "b"], deadline=0.01)
        await asyncio.sleep(0.02)
        async with store_at(where) as store, asyncio.TaskGroup() as group:
            group.create_task(empty(source, store))
            return await read_all(store)

    transitions = run(main())
    ends = {t.task_id: t.error for t in transitions if t.is_final}
    assert isinstance(ends["a"], DeadlineExceededError)
    assert ends["a"].elapsed >= 0.02
    assert ends["b"] is None
    assert 1 == len(source.polls("a"))
    assert 2 == sum(t.is_final for t in transitions)


def test_a_refused_key_ends_the_work_and_no_task(where: str) -> None:
    """It says nothing about the tasks; with the right key it goes on."""
    source = FakeStatusSource(
        {"a": ["PENDING", AuthenticationError("", status_code=401)]}
    )

    async def main() -> None:
        async with store_at(where) as store:
            await store.add(["a", "b"])
            with pytest.raises(AuthenticationError):
                await work(source, store, schedule=SOON)
            assert 2 == await store.watching()
            for name in "ab":
                source.script(name, "SUCCESS")
            async with asyncio.TaskGroup() as group:
                group.create_task(empty(source, store))
                transitions = await read_all(store)

        assert ["PENDING", "SUCCESS"] == statuses(transitions, "a")

    run(main())


def test_a_session_that_is_closed_ends_the_work_and_no_task(where: str) -> None:
    """A program that leaves its blocks in the wrong order loses nothing."""

    async def main() -> None:
        async with store_at(where) as store:
            await store.add("a")
            with pytest.raises(SessionClosedError):
                await work(CambSession("key"), store)

            assert 1 == await store.watching()

    run(main())


def test_an_answer_about_one_task_ends_that_one(where: str) -> None:
    """The error comes back with its class and its data."""
    denied = PermissionDeniedError("Not yours.", status_code=403, request_id="r1")
    source = FakeStatusSource({"a": [denied], "b": [refused(), "SUCCESS"]})

    async def main() -> list[Transition]:
        async with store_at(where) as store, asyncio.TaskGroup() as group:
            await store.add(["a", "b"])
            group.create_task(empty(source, store))
            return await read_all(store)

    ends = {t.task_id: t for t in run(main()) if t.is_final}
    error = ends["a"].error
    assert isinstance(error, PermissionDeniedError)
    assert ("r1", False) == (error.request_id, error.retryable)
    assert TaskStatus.SUCCESS == ends["b"].status


def test_a_store_that_fails_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Polling goes on, one line is logged, and nothing is lost or repeated."""
    monkeypatch.setattr("camb_async.stores._insisting._BACKOFF", QUICK)
    source = FakeStatusSource({"a": ["PENDING", "QUEUED", "SUCCESS"]})

    async def main() -> list[Transition]:
        async with Shaky(tmp_path / "voices.db", 0) as store:
            await store.add("a")
            store.failures = 5
            async with asyncio.TaskGroup() as group:
                group.create_task(empty(source, store))
                return await read_all(store)

    with caplog.at_level(logging.INFO, "camb_async"):
        transitions = run(main())
    assert ["PENDING", "UNKNOWN", "SUCCESS"] == statuses(transitions)
    lines = [r.getMessage() for r in caplog.records if "store" in r.getMessage()]
    assert ["The store fails, and is tried again: The disk is full."] == lines[:1]
    assert ["The store works after 5 tries"] == lines[1:]


def test_each_outage_is_told_once_though_calls_were_cancelled(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A call that was given up has not silenced the store's next outage."""

    async def away() -> None:
        message = "away"
        raise StoreError(message, retryable=True)

    async def main() -> None:
        insist = Insisting()
        for _ in range(2):
            with anyio.move_on_after(0.01):
                await insist(away)
            await insist(anyio.lowlevel.checkpoint)

    run(main())
    assert 2 == sum("is tried again" in r.getMessage() for r in caplog.records)


def test_a_store_that_will_never_work_is_told(tmp_path: Path) -> None:
    """The error is raised as it is, and in no group."""

    async def main() -> None:
        async with Shaky(tmp_path / "voices.db", 99, retryable=False) as store:
            with pytest.raises(StoreError, match="The disk is full"):
                await work(FakeStatusSource(), store)

    run(main())


def test_a_store_that_fails_at_the_end_costs_a_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What could not be recorded is seen again at the next start."""
    source = FakeStatusSource({"a": ["SUCCESS"]})

    async def main() -> None:
        async with Shaky(tmp_path / "voices.db", 0) as store:
            await store.add("a")
            source.on_poll = lambda _task: setattr(store, "failures", 10**6)
            working = asyncio.create_task(work(source, store, schedule=SOON))
            await until(lambda: "The store fails" in caplog.text)
            await cancelled(working)
            await store.join(OTHER)
            store.failures = 0
            assert 1 == len(await store.claim(OTHER, 9))
            source.on_poll = lambda _task: None
        async with open_store(tmp_path) as store, asyncio.TaskGroup() as group:
            group.create_task(empty(source, store))
            assert ["SUCCESS"] == statuses(await read_all(store))

    run(main())
    assert "The store could not be told all by a worker" in caplog.text


async def nothing() -> None:
    """Do nothing."""


class Slow(SqliteStore):
    """A store that does something else before it records, or gives tasks."""

    before: Callable[[], Awaitable[object]] = staticmethod(nothing)
    before_claim: Callable[[], Awaitable[object]] = staticmethod(nothing)

    async def claim(self, owner: str, limit: int) -> list[StoredTask]:
        """Do the other thing, and claim."""
        await self.before_claim()
        return await super().claim(owner, limit)

    async def record(self, owner: str, transitions: Sequence[Transition]) -> list[str]:
        """Do the other thing, and record."""
        await self.before()
        return await super().record(owner, transitions)


def test_a_worker_that_is_cancelled_while_it_leaves_gives_all_back(
    tmp_path: Path,
) -> None:
    """What it does then is not cut short; the cancellation comes out at the end."""
    source = FakeStatusSource({"a": ["PENDING"]})

    async def main() -> None:
        async with Slow(tmp_path / "voices.db") as store:
            await store.add("a")
            working = asyncio.create_task(work(source, store))

            async def cancel() -> None:
                working.cancel()

            store.before = cancel
            await asyncio.wait([working])
            assert working.cancelled()
            await store.join(OTHER)
            assert 1 == len(await store.claim(OTHER, 9))
            assert ["PENDING"] == statuses(await store.deliver(9))

    run(main())


def test_a_worker_may_hear_of_a_discard_after_the_task_was_added_again(
    tmp_path: Path,
) -> None:
    """It takes the new watch up from its beginning, and keeps it."""

    async def main() -> None:
        async with Slow(tmp_path / "voices.db") as store:

            async def add_again() -> None:
                store.before_claim = nothing
                await store.discard("a")
                await store.add("a")

            await store.add("a")
            working = asyncio.create_task(
                work(FakeStatusSource(), store, schedule=SOON)
            )
            transitions = store.transitions()
            first = await anext(transitions)
            store.before_claim = add_again
            await store.add("b")
            others = [await anext(transitions) for _ in "ab"]
            (second,) = [t for t in others if t.task_id == "a"]
            assert first.key != second.key
            assert ["PENDING"] == statuses(others)
            await cancelled(working)

    run(main())


def test_what_is_refused_is_watched_no_more(tmp_path: Path) -> None:
    """A task that was discarded while its change was on the way to the store."""
    source = FakeStatusSource({"a": ["PENDING", "SUCCESS"]})

    async def main() -> None:
        async with Slow(tmp_path / "voices.db") as store:
            store.before = lambda: store.discard("a")
            await store.add("a")
            await empty(source, store, schedule=FixedInterval(60.0))

            assert [] == await read_all(store)

    run(main())
    assert 1 == len(source.polls("a"))


class Forgetful(SqliteStore):
    """A store that takes its worker for dead, once."""

    beat_every = 0.01
    given_up = 0

    async def beat(self, owner: str) -> bool:
        """Give the worker up at its first sign of life."""
        if not self.given_up:
            self.given_up += 1
            await self.release(owner)
        return await super().beat(owner)


def test_a_worker_that_was_given_up_begins_anew(tmp_path: Path) -> None:
    """Under another name; what is its no more it leaves to others."""
    source = FakeStatusSource({"a": ["PENDING"]})

    async def main() -> list[Transition]:
        async with Forgetful(tmp_path / "voices.db") as store:
            await store.add("a")
            async with asyncio.TaskGroup() as group:
                group.create_task(empty(source, store))
                transitions = store.transitions(until_empty=True)
                first = await anext(transitions)
                await until(lambda: store.given_up > 0)
                source.script("a", "SUCCESS")
                return [first, *[t async for t in transitions]]

    assert ["PENDING", "SUCCESS"] == statuses(run(main()))


def test_two_workers_share_the_tasks(where: str) -> None:
    """Within one process, say for two keys: each task is polled by one of them."""
    names = [f"task-{number}" for number in range(40)]
    sources = [
        FakeStatusSource({n: ["PENDING", "SUCCESS"] for n in names}) for _ in "ab"
    ]

    async def main() -> list[Transition]:
        async with store_at(where) as store, asyncio.TaskGroup() as group:
            await store.add(names)
            for source in sources:
                group.create_task(empty(source, store, capacity=10))
            return await read_all(store)

    transitions = run(main())
    assert 40 == sum(t.is_final for t in transitions)
    assert 80 == len({t.key for t in transitions})


def test_the_work_may_be_looked_at(tmp_path: Path) -> None:
    """Whoever wants to show how it goes is given the watcher."""
    watchers: list[TaskWatcher] = []
    seen: list[int] = []

    async def main() -> None:
        async with open_store(tmp_path) as store:
            await store.add(["a", "b"])
            working = asyncio.create_task(
                work(FakeStatusSource(), store, observe=watchers.append)
            )
            await until(lambda: bool(watchers) and watchers[0].stats().polls >= 2)
            seen.append(len(watchers[0].watched()))
            await cancelled(working)

    run(main())

    assert [2] == seen
