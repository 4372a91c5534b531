"""CPU per poll of a whole watcher, against a coroutine per task around aiohttp.

Run it: ``python -m tests.benchmarks.watcher_cost [ROUNDS]``. 2,000 tasks are polled
about once in two seconds over real sockets, by each in turn, in one process.
"""

from __future__ import annotations

import asyncio
import gc
import random
import statistics
import sys
import time
from collections.abc import Awaitable, Callable

import aiohttp

from camb_async import CambSession, FixedInterval, Limits, TaskWatcher

from .status_server import status_server


TASKS = 2_000
INTERVAL = 2.0
SECONDS = 4.0
KEY = "benchmark-key"
IDS = [f"0f6d2c1e-7b1a-4f0e-9c55-{n:012d}" for n in range(TASKS)]


async def coroutines(base_url: str) -> float:
    """Poll as most people do; return the CPU of one poll, in microseconds."""
    polls = 0
    headers = {"x-api-key": KEY}
    connector = aiohttp.TCPConnector(limit=32)
    async with aiohttp.ClientSession(headers=headers, connector=connector) as client:

        async def follow(task_id: str) -> None:
            nonlocal polls
            await asyncio.sleep(random.random() * INTERVAL)
            while True:
                url = f"{base_url}/text-to-voice/{task_id}"
                async with client.get(url) as response:
                    state = await response.json()
                polls += 1
                if state["status"] != "PENDING":
                    return
                await asyncio.sleep(INTERVAL * random.uniform(0.9, 1.1))

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(follow(task_id)) for task_id in IDS]
            cost = await measured(lambda: polls)
            for task in tasks:
                task.cancel()
    return cost


async def watcher(base_url: str) -> float:
    """Poll with a TaskWatcher; return the CPU of one poll, in microseconds."""
    limits = Limits(max_in_flight=32, max_rate=None)
    async with (
        CambSession(KEY, base_url=base_url, limits=limits) as camb,
        TaskWatcher(camb, IDS, schedule=FixedInterval(INTERVAL)) as watching,
    ):
        return await measured(lambda: watching.stats().polls)


async def measured(polls: Callable[[], int]) -> float:
    """Return the CPU per poll of what is going on, once it has settled."""
    await asyncio.sleep(INTERVAL * 1.2)
    gc.collect()
    before, polled = time.process_time(), polls()
    await asyncio.sleep(SECONDS)
    return (time.process_time() - before) / (polls() - polled) * 1e6


async def compare(base_url: str, rounds: int) -> None:
    """Print both medians, and the median of the rounds' ratios."""
    ways: dict[str, Callable[[str], Awaitable[float]]] = {
        "a coroutine per task": coroutines,
        "TaskWatcher": watcher,
    }
    costs: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            costs[name].append(await way(base_url))
    theirs, ours = costs.values()
    ratios = [our / their for our, their in zip(ours, theirs, strict=True)]
    print(  # noqa: T201
        ", ".join(f"{n} {statistics.median(c):.0f} us" for n, c in costs.items())
        + f", ratio {statistics.median(ratios):.2f}"
        f" (rounds {min(ratios):.2f} to {max(ratios):.2f})"
    )


def main() -> None:
    """Run the comparison for the number of rounds given on the command line."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    with status_server() as base_url:
        asyncio.run(compare(base_url, rounds))


if __name__ == "__main__":
    main()
