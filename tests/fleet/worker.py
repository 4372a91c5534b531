"""A worker as a process of its own: ``python -m tests.fleet.worker '{...}'``.

The service that it asks is a timetable: task-7 ends eight steps after it all began,
whoever asks. So each worker is told the same, and none needs a network for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from typing import Any

from camb_async import (
    FixedInterval,
    Limits,
    PostgresStore,
    TaskRef,
    TaskState,
    TaskStatus,
    work,
)


#: How a worker ends that a task has ended.
POISONED = 66


class Timetable:
    """Answers by the time of day; one task may end whoever asks for it."""

    def __init__(self, began: float, step: float, poison: str | None) -> None:
        self.limits = Limits(max_in_flight=100, max_rate=None)
        self._began = began
        self._step = step
        self._poison = poison

    async def poll(self, task: TaskRef, /) -> TaskState:
        """Answer a moment later, or end the process."""
        await asyncio.sleep(0.01)
        if task.task_id == self._poison:
            os._exit(POISONED)
        number = int(task.task_id.removeprefix("task-"))
        if time.time() < self._began + (number + 1) * self._step:
            return TaskState(TaskStatus.PENDING, raw_status="PENDING")
        return TaskState(TaskStatus.SUCCESS, raw_status="SUCCESS", run_id=number)


async def _read(store: PostgresStore, path: str) -> None:
    with open(path, "a", buffering=1) as out:  # noqa: ASYNC230, PTH123 - a short line
        async for t in store.transitions():
            print(json.dumps([t.task_id, t.key, t.status, t.is_final]), file=out)


async def _main(options: dict[str, Any]) -> None:
    this = asyncio.current_task()
    assert this is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, this.cancel)
    source = Timetable(options["began"], options["step"], options.get("poison"))
    schedule = FixedInterval(options.get("interval", 0.2))
    async with PostgresStore(options["dsn"], lease=options["lease"]) as store:
        sys.stdout.write("working\n")
        sys.stdout.flush()
        if "read" in options:
            await _read(store, options["read"])
        await work(
            source,
            store,
            capacity=options.get("capacity", 2000),
            until_empty=options.get("until_empty", False),
            schedule=schedule,
        )


if __name__ == "__main__":
    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(_main(json.loads(sys.argv[1])))
