"""The server does what it is told, and the answer is lost on the way."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from random import Random

import asyncpg
import pytest

from camb_async import PostgresStore, StoredTask, StoreError, Transition, work
from camb_async.stores._server import Server
from tests.fakes import FakeStatusSource
from tests.helpers import QUICK, SOON, run, until
from tests.storing import told

from .proxy import Proxy, proxy
from .stage import ask, eventually


# Whether a worker is to look is seen from inside only.
# pyright: reportPrivateUsage=false

pytestmark = pytest.mark.usefixtures("nobody_else_speaks")

NAMES = [f"task-{number}" for number in range(10)]


@pytest.fixture
def nobody_else_speaks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out what a store says by itself from time to time; try again soon."""
    monkeypatch.setattr("camb_async.stores._postgres._REAP_EVERY", 60.0)
    monkeypatch.setattr("camb_async.stores._insisting._BACKOFF", QUICK)
    monkeypatch.setattr("camb_async.stores._leased_reader._REPEAT", 0.05)


async def lost(between: Proxy, call: Callable[[], Awaitable[object]]) -> None:
    """Make a call whose answer is lost."""
    before = between.lost
    between.lose_next()
    with pytest.raises(StoreError) as raised:
        await call()
    assert raised.value.retryable
    assert before + 1 == between.lost


async def joined(store: PostgresStore, owner: str = "0" * 32) -> str:
    """Make a worker known; return its name."""
    await store.join(owner)
    return owner


def names(tasks: list[StoredTask]) -> list[str]:
    """Return the ids of tasks that were claimed, in order."""
    return sorted(stored.task.task_id for stored in tasks)


def test_what_was_added_is_not_added_again(dsn: str) -> None:
    """A caller that is told of a failure may add all again."""

    async def main() -> None:
        async with proxy(dsn) as between, PostgresStore(between.dsn) as store:
            await store.add("another")
            await lost(between, lambda: store.add(NAMES))
            assert 0 == await store.add(NAMES)
            assert 11 == await store.watching()

    run(main())


def test_what_was_claimed_is_found_again(dsn: str) -> None:
    """All of it, claimed once."""

    async def main() -> None:
        async with proxy(dsn) as between, PostgresStore(between.dsn) as store:
            await store.add(NAMES)
            me = await joined(store)
            await lost(between, lambda: store.claim(me, 4))
            first = await store.claim(me, 4)
            second = await store.claim(me, 99)
            assert (4, 6) == (len(first), len(second))
            assert NAMES == names([*first, *second])
            assert {1} == {stored.claims for stored in [*first, *second]}

    run(main())


def test_a_claim_that_is_made_too_late_claims_nothing(dsn: str) -> None:
    """Its worker has given it up; what it took would be watched by nobody."""

    async def main() -> None:
        async with proxy(dsn) as between, PostgresStore(between.dsn) as store:
            me = await joined(store)
            # What is prepared waits only when it is made.
            assert [] == await store.claim(me, 4)
            await store.add(NAMES)
            async with held_up(dsn, "camb_task"):
                claiming = asyncio.create_task(store.claim(me, 4))
                await a_statement_waits(dsn, 1)
                between.cut()
                with pytest.raises(StoreError):
                    await claiming
                again = asyncio.create_task(store.claim(me, 99))
                await a_statement_waits(dsn, 2)

            assert NAMES == names(await again)
            assert [] == await store.claim(me, 99)
            assert 10 == await ask(dsn, "select count(owner) from camb_task")

    run(main())


@pytest.mark.parametrize("ends", [False, True])
def test_what_was_recorded_is_recorded_once(dsn: str, *, ends: bool) -> None:
    """A transition is known by its key, and one that ends a watch by its end."""

    async def main() -> None:
        async with proxy(dsn) as between, PostgresStore(between.dsn) as store:
            await store.add("a")
            me = await joined(store)
            [stored] = await store.claim(me, 9)
            await store.record(me, [told(stored, "PENDING")])
            seen = told(stored, "SUCCESS" if ends else "QUEUED", seq=2)
            await lost(between, lambda: store.record(me, [seen]))
            # A watch that has ended is nobody's.
            assert [stored.watch] * ends == await store.record(me, [seen])
            assert 2 == await ask(dsn, "select count(*) from camb_event")
            assert 1 - ends == await store.watching()

    run(main())


def test_a_worker_may_join_beat_vouch_and_leave_twice(dsn: str) -> None:
    """The second time changes nothing."""

    async def main() -> None:
        async with proxy(dsn) as between, PostgresStore(between.dsn) as store:
            await store.add(NAMES)
            me = "0" * 32
            await lost(between, lambda: store.join(me))
            await store.join(me)
            tasks = await store.claim(me, 99)
            watches = [stored.watch for stored in tasks]
            await lost(between, lambda: store.survived(me, watches))
            await store.survived(me, watches)
            await lost(between, lambda: store.beat(me))
            assert await store.beat(me)
            await lost(between, lambda: store.release(me))
            await store.release(me)
            other = await joined(store, "1" * 32)
            again = await store.claim(other, 99)
            assert NAMES == names(again)
            assert {1} == {stored.claims for stored in again}

    run(main())


@pytest.mark.parametrize("how", ["dropped", "beat"])
def test_what_was_dropped_is_told_until_it_is_heard(dsn: str, how: str) -> None:
    """Otherwise a worker would poll it for ever."""

    async def main() -> None:
        async with proxy(dsn) as between, PostgresStore(between.dsn) as store:
            await store.add("a")
            me = await joined(store)
            [stored] = await store.claim(me, 9)
            assert [] == await store.dropped(me)
            async with PostgresStore(dsn) as another:
                await another.discard("a")
            await until(lambda: store._owners[me].is_to_look)
            call = store.beat if how == "beat" else store.dropped
            await lost(between, lambda: call(me))
            assert await store.beat(me)
            assert [stored.watch] == await store.dropped(me)
            assert await store.beat(me)
            assert [] == await store.dropped(me)
            assert 0 == await ask(dsn, "select count(*) from camb_dropped")

    run(main())


def test_news_from_before_a_store_listens_is_heard(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It listens on a connection of its own, which may take its time."""
    listen = Server.listen
    may_listen = asyncio.Event()

    async def late(
        self: Server, channels: Sequence[str], hear: Callable[[str], None]
    ) -> None:
        await may_listen.wait()
        await listen(self, channels, hear)

    monkeypatch.setattr(Server, "listen", late)

    async def main() -> None:
        async with PostgresStore(dsn) as store, PostgresStore(dsn) as another:
            await store.add("a")
            me = await joined(store)
            [stored] = await store.claim(me, 9)
            assert [] == await store.dropped(me)
            await another.discard("a")
            assert [] == await store.dropped(me)
            may_listen.set()
            await until(lambda: store._owners[me].is_to_look)
            assert [stored.watch] == await store.dropped(me)

    run(main())


def test_what_was_discarded_is_gone(dsn: str) -> None:
    """A second call finds nothing, and the task may be added again."""

    async def main() -> None:
        async with proxy(dsn) as between, PostgresStore(between.dsn) as store:
            await store.add("a")
            await lost(between, lambda: store.discard("a"))
            assert not await store.discard("a")
            assert 1 == await store.add("a")

    run(main())


async def recorded(store: PostgresStore) -> None:
    """Have ten tasks end."""
    await store.add(NAMES)
    me = await joined(store)
    tasks = await store.claim(me, 99)
    await store.record(me, [told(stored, "SUCCESS") for stored in tasks])


async def read(store: PostgresStore) -> list[Transition]:
    """Return what is delivered until nothing is left."""
    return [transition async for transition in store.transitions(until_empty=True)]


def keys(transitions: list[Transition]) -> Counter[object]:
    """Return how often each was delivered."""
    return Counter(transition.key for transition in transitions)


def test_what_was_given_to_a_reader_is_found_again(dsn: str) -> None:
    """It is delivered, and once."""

    async def main() -> None:
        async with proxy(dsn) as between, PostgresStore(between.dsn) as store:
            await recorded(store)
            await lost(between, lambda: store.deliver(1))
            transitions = await read(store)
            assert [1] * 10 == list(keys(transitions).values())

    run(main())


def test_what_is_given_to_a_reader_too_late_goes_to_it_all_the_same(dsn: str) -> None:
    """It would lie with a reader that does not know of it."""

    async def main() -> None:
        async with proxy(dsn) as between, PostgresStore(between.dsn) as store:
            async with PostgresStore(dsn) as another:
                await store.deliver(1)
                await recorded(another)
            async with held_up(dsn, "camb_event"):
                reading = asyncio.create_task(store.deliver(1))
                await a_statement_waits(dsn, 1)
                between.cut()
                with pytest.raises(StoreError):
                    await reading
                reading = asyncio.create_task(store.deliver(1))
                await a_statement_waits(dsn, 2)
            first = await reading

            transitions = [*first, *await read(store)]
            assert [1] * 10 == list(keys(transitions).values())

    run(main())


def test_what_was_acknowledged_is_forgotten(dsn: str) -> None:
    """It is told again, and delivered to nobody."""

    async def main() -> None:
        async with proxy(dsn) as between:
            async with PostgresStore(between.dsn) as store:
                await recorded(store)
                transitions = await store.deliver(4)
                between.lose_next()
                await store.ack(transitions)
                await until(lambda: 1 == between.lost)
            async with PostgresStore(dsn) as store:
                assert 6 == len(await read(store))

    run(main())


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
def test_a_fifth_of_all_answers_may_be_lost(dsn: str, seed: int) -> None:
    """Worker and reader get there; nothing is lost, recorded or delivered twice."""
    random = Random(seed)
    tasks = [f"task-{number}" for number in range(60)]
    story = ["PENDING", "QUEUED", "RUNNING", "SUCCESS"]
    source = FakeStatusSource(dict.fromkeys(tasks, story))

    async def main() -> list[Transition]:
        async with proxy(dsn) as between, PostgresStore(between.dsn) as store:
            await store.add(tasks)
            between.loses = lambda: random.random() < 0.2
            async with asyncio.TaskGroup() as group:
                group.create_task(
                    work(source, store, schedule=SOON, capacity=20, until_empty=True)
                )
                transitions = await read(store)
            between.loses = lambda: False
            return transitions

    transitions = run(main())
    assert {1} == set(keys(transitions).values())
    assert 240 == len(transitions)
    assert 60 == sum(transition.is_final for transition in transitions)


class held_up:  # noqa: N801 - used as a function
    """Keeps statements from writing a table, until the block is left."""

    def __init__(self, dsn: str, table: str) -> None:
        self._dsn = dsn
        self._table = table

    async def __aenter__(self) -> None:
        self._connection = await asyncpg.connect(self._dsn)
        await self._connection.execute(f"begin; lock table {self._table} in share mode")

    async def __aexit__(self, *_: object) -> None:
        await self._connection.close()


async def a_statement_waits(dsn: str, count: int) -> None:
    """Wait until so many statements wait for the table."""
    await eventually(
        dsn,
        "select count(*) = $1 from pg_stat_activity "
        "where wait_event_type = 'Lock' and datname = current_database()",
        count,
    )
