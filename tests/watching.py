"""What the tests of watching share: a watch from start to end, in virtual time."""

from __future__ import annotations

from typing import Any

from camb_async import FixedInterval, TaskRef, TaskWatcher, Transition

from .fakes import FakeStatusSource
from .virtual_time import run


EVERY_SECOND = FixedInterval(1.0)


async def read_all(watcher: TaskWatcher) -> list[Transition]:
    """Return what is left to read until the iteration ends."""
    return [transition async for transition in watcher]


def watch(
    source: FakeStatusSource, *tasks: str | TaskRef, **options: Any
) -> list[Transition]:
    """Watch tasks to their end, one poll a second, and return the transitions."""

    async def main() -> list[Transition]:
        options.setdefault("schedule", EVERY_SECOND)
        async with TaskWatcher(source, tasks, **options) as watcher:
            return await read_all(watcher)

    return run(main())


def texts(transitions: list[Transition], task_id: str = "a") -> list[str | None]:
    """Return the status texts that were reported of one task."""
    return [
        t.state.raw_status if t.state else None
        for t in transitions
        if t.task_id == task_id
    ]
