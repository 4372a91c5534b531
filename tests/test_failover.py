"""The PostgreSQL store on two servers, one of which takes the other's place."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator

import pytest

from camb_async import PostgresStore, StoreError, Transition, work

from .fakes import FakeStatusSource
from .helpers import SOON, run, until
from .postgres import PostgresServer
from .standby import Standby, two_servers


NAMES = [f"task-{number}" for number in range(100)]


@pytest.fixture
def servers(postgres: PostgresServer) -> Iterator[tuple[PostgresServer, Standby]]:
    """A server and one that follows it, where there is PostgreSQL at all."""
    del postgres
    with two_servers() as servers:
        yield servers


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("end", "order"),
    [
        (PostgresServer.kill, 1),
        (PostgresServer.kill, -1),
        (PostgresServer.freeze, 1),
    ],
)
def test_a_fleet_goes_on_with_the_other_server(
    servers: tuple[PostgresServer, Standby],
    end: Callable[[PostgresServer], None],
    order: int,
) -> None:
    """Nothing that was recorded is lost, or comes twice."""
    primary, standby = servers
    database = primary.new_database().rpartition("/")[2]
    hosts = ",".join(f"127.0.0.1:{each.port}" for each in servers[::order])
    dsn = f"postgresql://camb:x@{hosts}/{database}?target_session_attrs=read-write"
    source = FakeStatusSource(
        {name: ["PENDING"] * n + ["QUEUED", "SUCCESS"] for n, name in enumerate(NAMES)}
    )
    told: list[Transition] = []

    async def worker() -> None:
        async with PostgresStore(dsn) as store:
            await work(source, store, schedule=SOON, until_empty=True, capacity=50)

    async def reader() -> None:
        async with PostgresStore(dsn) as store:
            async for transition in store.transitions(until_empty=True):
                told.append(transition)  # noqa: PERF401 - it is looked at meanwhile

    async def fail_over(store: PostgresStore) -> None:
        await until(lambda: sum(each.is_final for each in told) >= 20)
        await asyncio.to_thread(end, primary)
        with pytest.raises(StoreError) as caught:
            await store.add("late")
        assert caught.value.retryable
        assert len({t.task_id for t in told if t.is_final}) < len(NAMES)
        await asyncio.to_thread(standby.promote)

    async def main() -> None:
        async with PostgresStore(dsn) as store, asyncio.TaskGroup() as group:
            await store.add(NAMES, deadline=None)
            for job in (worker(), worker(), reader(), fail_over(store)):
                group.create_task(job)

    run(main())
    numbers: dict[str, list[int]] = defaultdict(list)
    for transition in told:
        watch, seq = transition.key or ("", 0)
        numbers[watch].append(seq)
    assert sorted(NAMES) == sorted(t.task_id for t in told if t.is_final)
    assert len(NAMES) == len(numbers)
    for seqs in numbers.values():
        assert list(range(1, len(seqs) + 1)) == seqs
