"""A session and a watcher through a million polls, a tenth of which fail.

CI makes fewer. The full million, with its figures shown:

    CAMB_SOAK_POLLS=1000000 python -m pytest -n 0 -m slow tests/soak/test_sockets.py
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
import time
from collections import Counter, deque
from collections.abc import AsyncGenerator, Iterator

import pytest

from camb_async import (
    CambError,
    CambSession,
    FixedInterval,
    Limits,
    TaskRef,
    TaskState,
    TaskWatcher,
)
from tests.benchmarks.status_server import status_server
from tests.helpers import QUICK, run

from .figures import Figures, figures, open_files, table


POLLS = int(os.environ.get("CAMB_SOAK_POLLS", "100000"))
WATCHED = 300
IN_FLIGHT = 32

#: Objects of one type; what is under way at the moment makes up for a part.
OBJECTS_ALLOWED = 500
BYTES_ALLOWED = 6_000_000

KINDS_OF_FAILURE = {
    "APIConnectionError",
    "APITimeoutError",
    "InvalidResponseError",
    "ServerError",
}


class CountingSession(CambSession):
    """Counts its polls, and those that fail by their error."""

    polls = 0

    def __init__(self, base_url: str) -> None:
        """Be a session with the server there."""
        limits = Limits(max_in_flight=IN_FLIGHT, max_rate=None)
        super().__init__(
            "key", base_url=base_url, limits=limits, retry=QUICK, request_timeout=1.0
        )
        self.failures: Counter[str] = Counter()

    async def poll(self, task: TaskRef | str) -> TaskState:
        """Poll and count."""
        self.polls += 1
        try:
            return await super().poll(task)
        except CambError as error:
            self.failures[type(error).__name__] += 1
            raise

    async def break_all_connections(self) -> None:
        """Have every connection that is kept alive end in an error."""
        broken = (super(CountingSession, self).poll("broken") for _ in range(IN_FLIGHT))
        for outcome in await asyncio.gather(*broken, return_exceptions=True):
            assert isinstance(outcome, CambError), outcome


async def watch(watcher: TaskWatcher, names: Iterator[str]) -> AsyncGenerator[None]:
    """Watch many tasks, each followed by another; tell of each that is finished."""
    for name in itertools.islice(names, WATCHED):
        watcher.add(name)
    async for transition in watcher:
        if transition.is_final:
            assert transition.error is None
            watcher.add(next(names))
            yield


async def soak(camb: CountingSession, polls: int) -> list[Figures]:
    """Watch for so many polls; return the figures at 10, 50 and 100 percent."""
    marks = deque(polls * percent // 100 for percent in (10, 50, 100))
    rows: list[Figures] = []
    since = time.monotonic()
    names = map("task-{}".format, itertools.count())
    async with camb.watch(schedule=FixedInterval(0.02)) as watcher:
        async for _ in watch(watcher, names):
            if camb.polls >= marks[0]:
                marks.popleft()
                rows.append(figures(camb.polls, camb.failures.total(), since))
            if not marks:
                return rows
    raise AssertionError


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.usefixtures("levels")
def test_polls_and_failures_leave_nothing_behind(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Memory, objects and files do not grow, and no broken connection is kept."""

    async def main(base_url: str) -> tuple[list[Figures], Counter[str]]:
        before = open_files()
        async with CountingSession(base_url) as camb:
            rows = await soak(camb, POLLS)
            await camb.break_all_connections()
            assert before == open_files()
        return rows, camb.failures

    with status_server("tests.soak.failing_server") as base_url:
        rows, failures = run(main(base_url))
    report = f"{table(rows)}\n{dict(failures)}"
    with capsys.disabled():
        print(f"\n{report}", file=sys.stderr)  # noqa: T201
    first, *_, last = rows

    # Those of the latest tasks are kept, some thousands of them.
    assert last.grown(first, OBJECTS_ALLOWED).keys() <= {"URL"}, report
    assert last.objects["URL"] - first.objects["URL"] <= 4096, report
    assert last.rss - first.rss < BYTES_ALLOWED, report
    assert all(row.fds <= first.fds + IN_FLIGHT for row in rows), report
    assert last.failures >= last.polls / 10, report
    assert KINDS_OF_FAILURE == failures.keys(), report


class HoardingSession(CountingSession):
    """Leaks: it keeps each error."""

    def __init__(self, base_url: str) -> None:
        """Be a session with the server there."""
        super().__init__(base_url)
        self.errors: list[CambError] = []

    async def poll(self, task: TaskRef | str) -> TaskState:
        """Poll, and keep what went wrong."""
        try:
            return await super().poll(task)
        except CambError as error:
            self.errors.append(error)
            raise


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.usefixtures("levels")
def test_a_leak_would_be_seen() -> None:
    """An error that is kept shows in the figures of a run that is much shorter."""

    async def main(base_url: str) -> list[Figures]:
        async with HoardingSession(base_url) as camb:
            return await soak(camb, 12_000)

    with status_server("tests.soak.failing_server") as base_url:
        first, *_, last = run(main(base_url))
    grown = last.grown(first, OBJECTS_ALLOWED)

    assert "InvalidResponseError" in grown, table([first, last])
