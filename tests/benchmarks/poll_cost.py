"""CPU of one ``camb.poll`` against other ways to ask for the status of a task.

Run it: ``python -m tests.benchmarks.poll_cost [ROUNDS]``. The clients take turns in
one process, each polls 2,000 tasks in turn; only ratios carry over to another
machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import statistics
import sys
import time
from collections.abc import Sequence

import attrs

from .peers import OURS, PEERS, Drive
from .status_server import status_server


CONCURRENCIES = (1, 50, 200)
SECONDS = 0.5


@attrs.frozen
class Row:
    """What a poll of one client took: microseconds of CPU, in each round."""

    client: str
    concurrency: int
    rounds: Sequence[float]

    @property
    def median(self) -> float:
        """The middle one of the rounds."""
        return statistics.median(self.rounds)


async def cpu_per_poll(drive: Drive, concurrency: int, seconds: float) -> float:
    """Return the microseconds of CPU that one poll took in this process."""
    gc.collect()
    gc.disable()
    try:
        before = time.process_time()
        polls = await drive(concurrency, seconds)
        return (time.process_time() - before) / polls * 1e6
    finally:
        gc.enable()


async def compare(
    base_url: str, rounds: int, seconds: float, concurrencies: Sequence[int]
) -> list[Row]:
    """Return a row for each client and concurrency."""
    found = {(peer, many): list[float]() for many in concurrencies for peer in PEERS}
    async with contextlib.AsyncExitStack() as stack:
        drives = {
            peer: await stack.enter_async_context(peer.open(base_url)) for peer in PEERS
        }
        for number in range(rounds + 1):
            for (peer, many), costs in found.items():
                # The first round opens the connections, and is not counted.
                time_for_it = seconds if number else 0.0
                cost = await cpu_per_poll(drives[peer], many, time_for_it)
                if number:
                    costs.append(round(cost, 1))
    return [Row(peer.name, many, costs) for (peer, many), costs in found.items()]


def rows(
    rounds: int = 5,
    seconds: float = SECONDS,
    concurrencies: Sequence[int] = CONCURRENCIES,
) -> list[Row]:
    """Return what is printed, as data."""
    with status_server() as base_url:
        return asyncio.run(compare(base_url, rounds, seconds, concurrencies))


def main() -> None:
    """Run the comparison for the number of rounds given on the command line."""
    found = rows(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
    for many in CONCURRENCIES:
        at = {row.client: row for row in found if row.concurrency == many}
        ours = at[OURS.name].median
        print(f"{many} at once, us of CPU per poll:")  # noqa: T201
        for row in at.values():
            print(  # noqa: T201
                f"{row.client:28}{row.median:8.1f} ({min(row.rounds):.1f} to "
                f"{max(row.rounds):.1f}), over ours {row.median / ours:.2f}"
            )


if __name__ == "__main__":
    main()
