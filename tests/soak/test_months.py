"""A bot that runs for a month: one session, one open watcher, in virtual time.

Every day has the same visitors and the same troubles, so whatever there is more
of on the last day than on the third has been growing.
"""

# What is kept is looked at from inside.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from random import Random
from typing import Any, cast

import aiohttp
import attrs
import pytest
from multidict import CIMultiDict
from yarl import URL

from camb_async import CambError, CambSession, ShareOfAge, TaskWatcher
from camb_async._agenda import _STALE_ALLOWED
from camb_async._wire import _MEMO_SIZE
from tests.virtual_time import run

from .conftest import Levels
from .figures import Figures, figures, table


DAYS = 30
MINUTE = 60.0
HOUR = 3600.0
DAY = 86_400.0
VISITORS = 80
SCHEDULE = ShareOfAge(floor=5.0, cap=HOUR)

#: A session keeps the URLs of the latest tasks, up to so many.
URLS_KEPT = 4096
URL_BYTES = 700

#: Objects of one type.
OBJECTS_ALLOWED = 100
BYTES_ALLOWED = 3_000_000


@attrs.frozen
class Response:
    """As much of aiohttp's response as is looked at."""

    status: int
    body: bytes
    headers: CIMultiDict[str] = attrs.field(factory=CIMultiDict[str])

    @property
    def content(self) -> Response:
        """The stream to read from, which is at its end after one reading."""
        return self

    async def readany(self) -> bytes:
        """Return what there is, which is all."""
        return self.body

    def at_eof(self) -> bool:
        """Whether all was read."""
        return True

    def is_eof(self) -> bool:
        """Whether all has come."""
        return True


class Service:
    """A client session at whose other end is the service, without a network.

    A task's id says when it ends and how. Each day has an hour in which nothing
    connects, one of rate limits, one of errors, and one without any answer.
    """

    closed = trust_env = False

    def __init__(self) -> None:
        self.polls = 0
        self.failures = 0

    async def request(self, _method: str, url: URL, **_options: Any) -> Response:
        """Answer after a while."""
        self.polls += 1
        await asyncio.sleep(0.1)
        now = asyncio.get_running_loop().time()
        trouble = now % DAY // HOUR
        if trouble in (3, 6, 9, 12):
            self.failures += 1
        if trouble == 3:
            raise aiohttp.ClientOSError
        if trouble == 6:
            return Response(429, b"", CIMultiDict({"Retry-After": "20"}))
        if trouble == 9:
            return Response(503, b"<p>later")
        if trouble == 12:
            await asyncio.sleep(DAY)
        return Response(200, json.dumps(_status(url.name, now)).encode())


def _status(task_id: str, now: float) -> dict[str, object]:
    ends_at, status, number = task_id.split("-")
    left = float(ends_at) - now
    if left > 0:
        return {"status": "PENDING" if left > 10 else "ALMOST"}
    return {"status": status, "run_id": int(number)}


@attrs.define
class Bot:
    """Watches what its visitors bring, who have all the manners there are."""

    watcher: TaskWatcher
    visitors: int = 0
    read: Counter[str] = attrs.field(factory=Counter[str])

    async def one_day(self) -> None:
        """Serve the visitors of one day, the same each day, until all are gone."""
        random = Random(0)
        async with asyncio.TaskGroup() as group:
            for _ in range(VISITORS):
                await asyncio.sleep(23 * HOUR / VISITORS)
                group.create_task(self._visit(random))
        loop = asyncio.get_running_loop()
        await asyncio.sleep(DAY - loop.time() % DAY)

    async def _visit(self, random: Random) -> None:
        self.visitors += 1
        now = asyncio.get_running_loop().time()
        takes = random.expovariate(1 / MINUTE)
        status = random.choice(["SUCCESS", "SUCCESS", "SUCCESS", "ERROR", "TIMEOUT"])
        task = f"{now + takes:.3f}-{status}-{self.visitors}"
        stays = takes * random.uniform(0.2, 3.0)
        manners = [self._listen, self._wait, self._leave, self._discard, self._look]
        await random.choice(manners)(task, stays)

    async def _listen(self, task: str, stays: float) -> None:
        self.watcher.add(task, context=object(), deadline=stays)

    async def _wait(self, task: str, stays: float) -> None:
        both = (self.watcher.wait(task, deadline=stays), self.watcher.wait(task))
        for outcome in await asyncio.gather(*both, return_exceptions=True):
            assert not isinstance(outcome, BaseException) or isinstance(
                outcome, CambError
            )

    async def _leave(self, task: str, stays: float) -> None:
        self.watcher.add(task)
        waiting = asyncio.ensure_future(self.watcher.wait(task))
        await asyncio.wait([waiting], timeout=stays)
        waiting.cancel()
        await asyncio.wait([waiting])

    async def _discard(self, task: str, stays: float) -> None:
        self.watcher.add(task, deadline=2 * DAYS * DAY)
        await asyncio.sleep(stays)
        self.watcher.discard(task)

    async def _look(self, task: str, stays: float) -> None:
        self.watcher.add(task)
        for _ in range(5):
            await asyncio.sleep(stays / 5)
            self.watcher.poll_now(task)

    async def read_on(self) -> None:
        """Read whatever is reported, with breaks."""
        async for transition in self.watcher:
            self.read[str(transition.status)] += 1
            if self.read.total() % 50 == 0:
                await asyncio.sleep(10 * MINUTE)


def sizes(camb: CambSession, watcher: TaskWatcher) -> dict[str, float]:
    """Return how much is kept in each place where something is kept."""
    engine, calls = watcher._engine, camb._calls
    transport, limiter = calls.check_open(), calls._limiter
    return {
        "tasks": len(watcher),
        "slots of polls": len(engine._polls._order),
        "called": len(engine._called),
        "unread": len(engine.outbox._unread),
        "pushed to pollers": len(engine._pollers._ready),
        "queued for the limiter": limiter.waiting,
        "in flight": limiter.pacer.in_flight,
        "allowance": limiter.pacer._allowance,
        "timeouts": len(transport._timeouts._open),
        "answers": len(camb._statuses._reader._memo),
    }


#: In the evening there is one task, which may be polled at the moment.
MOST: dict[str, float] = {
    "tasks": 1,
    "slots of polls": _STALE_ALLOWED + 2,
    "called": 1,
    "unread": 1,
    "pushed to pollers": 1,
    "queued for the limiter": 1,
    "in flight": 1,
    "allowance": 5.0,
    "timeouts": 1,
    "answers": _MEMO_SIZE,
}


@attrs.frozen
class Evening:
    """What was found at the end of a day."""

    figures: Figures
    sizes: dict[str, float]
    rate: float | None
    warnings: int
    infos: int


async def live(levels: Levels) -> list[Evening]:
    """Run a bot for a month."""
    month: list[Evening] = []
    service, since = Service(), time.monotonic()
    session = cast("aiohttp.ClientSession", service)
    async with (
        CambSession("key", client_session=session) as camb,
        camb.watch(keep_open=True, schedule=SCHEDULE) as watcher,
    ):
        bot = Bot(watcher)
        # As long as this one has a deadline, those beyond it cannot come up.
        resident = f"{DAYS * DAY}-SUCCESS-0"
        watcher.add(resident, deadline=DAYS * DAY)
        reading = asyncio.ensure_future(bot.read_on())
        for _ in range(DAYS):
            await bot.one_day()
            now = figures(service.polls, service.failures, since)
            rate = camb._calls._limiter.pacer.rate
            warnings, infos = levels.seen["WARNING"], levels.seen["INFO"]
            levels.seen.clear()
            month.append(Evening(now, sizes(camb, watcher), rate, warnings, infos))
        watcher.discard(resident)
        watcher.close()
        await reading
    return month


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_month_leaves_nothing_behind(levels: Levels) -> None:
    """After outages, limits, deadlines, discards and waits all is as it was."""
    month = run(live(levels))
    third, last = month[2].figures, month[-1].figures
    report = table(evening.figures for evening in month[2::9])

    for evening in month:
        assert not {k: v for k, v in evening.sizes.items() if v > MOST[k]}, report
        assert 50.0 == evening.rate
    # There were more answers than are kept; no other objects are.
    assert max(evening.sizes["answers"] for evening in month) > _MEMO_SIZE / 2
    assert last.grown(third, OBJECTS_ALLOWED).keys() <= {"TaskState", "URL"}, report
    urls = last.objects["URL"] - third.objects["URL"]
    assert urls <= URLS_KEPT, report
    assert last.rss - third.rss < BYTES_ALLOWED + URL_BYTES * urls, report
    # A task that cannot be polled is one warning, however often it is tried.
    warnings = [evening.warnings for evening in month]
    assert 0 < max(warnings) <= min(warnings) + VISITORS / 10, warnings
    infos = [evening.infos for evening in month]
    assert max(infos) <= min(infos) + VISITORS / 2, infos
