"""Decide yourself when to poll: by the clock of your own experience.

    CAMB_API_KEY=... python examples/own_schedule.py TASK_ID

Without a key it rehearses with the simulator, on a task of four seconds.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
from datetime import UTC, datetime

import attrs

from camb_async import CambSession, TaskRef
from camb_async.simulator import ThreadedSimulator


@attrs.frozen
class Steps:
    """A PollSchedule that knows: nothing is ready soon, and most things are then.

    ``steps`` are pairs in seconds, the oldest age first: from that age on, poll at
    that interval. A task younger than all of them is left alone until then.
    """

    steps: tuple[tuple[float, float], ...] = ((60.0, 15.0), (10.0, 2.0), (2.0, 0.5))

    def next_delay(
        self,
        task: TaskRef,  # noqa: ARG002 - every task is alike here
        age: float,
        *,
        age_known: bool = True,  # noqa: ARG002 - else it counts from now
    ) -> float:
        """Return the seconds until the next poll of a task of this age."""
        for since, interval in self.steps:
            if age >= since:
                # Jitter: tasks that began together are not polled together.
                return interval * random.uniform(0.9, 1.1)
        return self.steps[-1][0] - age

    def learn(
        self,
        task: TaskRef,
        lower: float,
        upper: float,
        *,
        entry: float = 0.0,  # noqa: ARG002
    ) -> None:
        """Take note of how long a task really took; here, for the reader only."""
        print(f"{task} took between {lower:.1f} and {upper:.1f} s.")


async def main(task: TaskRef) -> None:
    """Wait for one task, on this schedule."""
    async with (
        CambSession() as camb,
        camb.watch([task], schedule=Steps(), deadline=900) as watcher,
    ):
        async for change in watcher:
            print(f"{change.elapsed:5.1f} s, poll {change.polls}: {change.status}")


if __name__ == "__main__":
    if "CAMB_API_KEY" in os.environ:
        asyncio.run(main(TaskRef.parse(sys.argv[1])))
    else:
        print("CAMB_API_KEY is not set: rehearsing with the simulator.")
        with ThreadedSimulator() as simulator:
            os.environ["CAMB_API_KEY"] = simulator.api_key
            os.environ["CAMB_BASE_URL"] = simulator.base_url
            task_id = simulator.add_task(after=4)
            asyncio.run(main(TaskRef(task_id, created_at=datetime.now(UTC))))
