"""Adding, discarding, dying, claiming and reading, all of it at the same time."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from camb_async import PostgresStore, TaskState, TaskStatus, Transition, work
from camb_async.models import TaskRef
from tests.fakes import FakeStatusSource
from tests.helpers import QUICK, SOON, run

from .stage import ask


NAMES = [f"task-{number}" for number in range(400)]


class Unhurried(FakeStatusSource):
    """Each task is done at its twentieth poll or so, whoever asks."""

    def __init__(self, random: Random) -> None:
        super().__init__()
        self._random = random

    async def poll(self, task: TaskRef, /) -> TaskState:
        """Answer at random, though once it has ended, always the same."""
        if self._random.random() < 0.05:
            self.script(task.task_id, "SUCCESS")
        return await super().poll(task)


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("seed", range(3))
def test_no_two_of_them_stand_in_each_others_way(
    dsn: str, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Whoever is not discarded has one end; all is delivered, nothing fails."""
    monkeypatch.setattr("camb_async.stores._insisting._BACKOFF", QUICK)
    # Workers are killed ten times as fast as any store expects: so are its looks.
    monkeypatch.setattr("camb_async.stores._postgres._REAP_EVERY", 0.1)
    monkeypatch.setattr("camb_async.stores._worker.VOUCH_EVERY", 0.025)
    random = Random(seed)
    source = Unhurried(random)
    to_discard = random.sample(NAMES, 60)
    discarded = set[str]()

    async def process() -> list[Transition]:
        async with PostgresStore(dsn, lease=3.0) as store:
            working = [
                asyncio.create_task(work(source, store, schedule=SOON, capacity=150))
                for _ in range(2)
            ]
            seen = [each async for each in store.transitions(until_empty=True)]
            # There may be more, which another reader had when it was taken for dead.
            await asyncio.sleep(5.0)
            seen += [each async for each in store.transitions(until_empty=True)]
            for worker in working:
                worker.cancel()
            await asyncio.wait(working)
            assert all(worker.cancelled() for worker in working)
        return seen

    async def discard(store: PostgresStore) -> None:
        for name in to_discard:
            if await store.discard(name):
                discarded.add(name)
            await asyncio.sleep(random.uniform(0.0, 0.05))

    async def kill() -> None:
        for _ in range(15):
            await asyncio.sleep(random.uniform(0.0, 0.3))
            await ask(dsn, "delete from camb_worker where random() < 0.4")

    async def main() -> list[Transition]:
        async with PostgresStore(dsn) as store:
            await store.add(NAMES)
            told, *_ = await asyncio.gather(
                asyncio.gather(*[process() for _ in range(3)]), discard(store), kill()
            )
            assert 0 == await store.watching()
        return [each for seen in told for each in seen]

    by_key = {each.key: each for each in run(main())}
    ends = [each for each in by_key.values() if each.is_final]
    names = {each.task_id for each in ends}
    assert len(ends) == len(names)
    # What had ended may be gone before it is delivered.
    assert set(NAMES) - set(to_discard) <= names
    assert not names & discarded
    assert {TaskStatus.SUCCESS} == {each.status for each in ends}
