"""A task that ends whatever worker asks for it, and those around it."""

from __future__ import annotations

import time

import pytest

from camb_async import PostgresStore, StoredTask, TaskParkedError, TaskStatus
from camb_async.models import TaskState
from tests.helpers import run
from tests.storing import told

from .stage import ask, eventually, fleet
from .worker import POISONED


NAMES = [f"task-{number}" for number in range(20)]
POISON = "task-7"
FIRST, SECOND = "0" * 32, "1" * 32


async def lives(store: PostgresStore, owner: str) -> tuple[list[StoredTask], bool]:
    """Have a worker take up what it is given; return that, and whether it lives."""
    await store.join(owner)
    taken: list[StoredTask] = []
    for _ in range(30):
        tasks = await store.claim(owner, 5)
        taken += tasks
        if POISON in {stored.task.task_id for stored in tasks}:
            return taken, False
        await store.survived(owner, [stored.watch for stored in tasks])
    return taken, True


def test_a_task_that_ends_workers_is_parked_and_no_other(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After five, of whom the last three held nothing else that was not polled."""
    monkeypatch.setattr("camb_async.stores._postgres._REAP_EVERY", 0.05)

    async def main() -> None:
        async with PostgresStore(dsn, lease=60.0) as store:
            await store.add(NAMES, context="mine")
            deaths, alive, taken, owner = 0, False, list[StoredTask](), ""
            while True:
                owner = f"{deaths:032x}"
                taken, alive = await lives(store, owner)
                if alive:
                    break
                deaths += 1
                await ask(dsn, "update camb_worker set expires = now() - interval '1s'")
                await eventually(dsn, "select count(owner) = 0 from camb_task")
            assert 5 == deaths
            assert 19 == len(taken)

            await eventually(dsn, "select count(*) = 19 from camb_task")
            [parked] = await store.deliver(9)
            assert isinstance(parked.error, TaskParkedError)
            assert (POISON, True, "mine") == (
                parked.task_id,
                parked.is_final,
                parked.context,
            )
            # Whoever knows better adds it again, and it is as good as any.
            assert 1 == await store.add(POISON)
            assert POISON in {each.task.task_id for each in await store.claim(owner, 9)}

    run(main())


def test_suspects_are_tried_in_small_groups_and_then_alone(dsn: str) -> None:
    """So it takes few trials to find one among many, and none ends with others."""

    async def main() -> None:
        async with PostgresStore(dsn) as store:
            await store.add([f"task-{number}" for number in range(40)])
            await ask(dsn, "update camb_task set attempts = 2")
            await store.join(FIRST)
            assert 16 == len(await store.claim(FIRST, 250))
            assert [] == await store.claim(FIRST, 250)
            await ask(dsn, "delete from camb_worker")

            await store.join(SECOND)
            sizes = list[int]()
            while tasks := await store.claim(SECOND, 10 if len(sizes) == 16 else 250):
                assert [] == await store.claim(SECOND, 250)
                sizes.append(len(tasks))
                await store.survived(SECOND, [each.watch for each in tasks])
            assert [*[1] * 16, 10, 14] == sizes

    run(main())


def test_whatever_was_seen_of_a_task_it_can_be_parked(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also what the server cannot read as a text: a message is the service's own."""
    monkeypatch.setattr("camb_async.stores._postgres._REAP_EVERY", 0.05)
    odd = TaskState(TaskStatus.PENDING, raw_status="\0", message="\0 \ud800")

    async def main() -> None:
        async with PostgresStore(dsn) as store:
            await store.add("a")
            await store.join("0" * 32)
            [stored] = await store.claim("0" * 32, 9)
            await store.record("0" * 32, [told(stored, "PENDING", state=odd)])
            await ask(dsn, "update camb_task set attempts = 5, owner = null")
            await eventually(dsn, "select count(*) = 0 from camb_task")
            _, parked = await store.deliver(9)

        assert (TaskStatus.PENDING, odd) == (parked.previous, parked.state)
        assert isinstance(parked.error, TaskParkedError)
        assert odd == parked.error.state

    run(main())


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_workers_die_of_a_task_until_it_is_parked(dsn: str) -> None:
    """Real ones, which are started again; all other tasks come to their end."""
    with fleet(dsn, step=0.02) as workers:
        workers.add(500)
        running = workers.start(2, poison=POISON, capacity=300)
        deaths = 0
        ends = time.monotonic() + 90.0
        while workers.ask("select count(*) > 0 from camb_task"):
            assert time.monotonic() < ends
            for worker in [each for each in running if each.poll() is not None]:
                assert POISONED == worker.returncode
                running.remove(worker)
                running += workers.start(poison=POISON, capacity=300)
                deaths += 1
            time.sleep(0.1)
        parked = workers.rows(
            "select task_id from camb_event where error->>'class' = 'TaskParkedError'"
        )
        succeeded = "select count(*) from camb_event where final and error is null"

        assert [POISON] == [row["task_id"] for row in parked]
        assert 499 == workers.ask(succeeded)
        assert 1 <= deaths <= 5
