"""Probes of many tasks at once, of an outage, and of the end of patience."""

from __future__ import annotations

import asyncio

from camb_async import Limits
from camb_async.simulator import Fault

from .clients import Client
from .stage import RUN, SUCCESS, TASK, Outcome, Probe, ending, said, staged


_MANY = 120
_WAITERS = 10
_AT_ONCE = Limits().max_in_flight
_OUTAGE, _OUT = 12.0, 20
#: Seconds of patience where many tasks share the limits.
_LONG = 30.0


async def many_at_once(client: Client) -> Outcome:
    """Wait for many tasks, each of whose answers takes a while."""
    async with staged(client) as (simulator, session):
        simulator.fail(Fault("slow", seconds=0.1), times=None)
        names = [f"task-{number}" for number in range(_MANY)]
        for name in names:
            simulator.add_task(name, after=0, run_id=RUN)
        ends = await asyncio.gather(
            *(ending(session.wait(name), _LONG) for name in names)
        )
    return Outcome(f"{ends.count(SUCCESS)} `SUCCESS`", ends.count(SUCCESS) == _MANY)


async def herd(client: Client) -> Outcome:
    """Look how many requests the same tasks send before the first is answered."""
    async with staged(client, _LONG) as (simulator, session):
        simulator.fail("hang", times=None)
        waits = [
            asyncio.ensure_future(ending(session.wait(f"task-{number}"), _LONG))
            for number in range(_MANY)
        ]
        sent = -1
        # Until none has come for a while: how long they take is the machine's.
        while sent < (sent := len(simulator.requests)) or not sent:  # noqa: ASYNC110
            await asyncio.sleep(1.0)
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
    words = "at most" if sent <= _AT_ONCE else "more than"
    return Outcome(f"{words} {_AT_ONCE} requests at once", sent <= _AT_ONCE)


async def several_waiters(client: Client) -> Outcome:
    """Wait for one task in several places."""
    async with staged(client) as (simulator, session):
        answers = ["PENDING"] * 9 + ["SUCCESS"]
        simulator.add_task(TASK, answers=answers, run_id=RUN)
        waits = (ending(session.wait(TASK)) for _ in range(_WAITERS))
        ends = await asyncio.gather(*waits)
        sent = len(simulator.requests)
    shared = sent <= len(answers)
    words = "one stream of polls" if shared else "more polls than one needs"
    return Outcome(f"{ends.count(SUCCESS)} `SUCCESS`, {words}", shared)


async def one_is_slowed_down(client: Client) -> Outcome:
    """Tell one task to wait, and look whether the other goes on as before."""
    async with staged(client) as (simulator, session):
        simulator.add_task("calm", status="PENDING", after=99)
        calm = asyncio.ensure_future(ending(session.wait("calm")))
        await asyncio.sleep(0.3)
        simulator.add_task(TASK, answers=["429", "SUCCESS"], run_id=RUN)
        end = await ending(session.wait(TASK))
        calm.cancel()
        await asyncio.gather(calm, return_exceptions=True)
        told = next(r.at for r in simulator.requests if r.answer == "429")
        after = sum(told + 0.1 < r.at < told + 0.8 for r in simulator.requests)
    words = "the other waits, too" if after == 0 else "the other goes on asking"
    return Outcome(f"{said(end)}; {words}", after == 0 and end == SUCCESS)


async def outage(client: Client) -> Outcome:
    """Wait for tasks while the service answers 503 to everything for a while."""
    async with staged(client) as (simulator, session):
        names = [f"task-{number}" for number in range(_OUT)]
        for name in names:
            simulator.add_task(name, after=0.5, run_id=RUN)
        simulator.fail("503", times=None)
        waits = asyncio.gather(*(ending(session.wait(name), _LONG) for name in names))
        await asyncio.sleep(_OUTAGE)
        simulator.heal()
        ends = await waits
    well = ends.count(SUCCESS)
    others = sorted({said(end) for end in ends} - {said(SUCCESS)})
    return Outcome(", ".join([f"{well} `SUCCESS`", *others]), well == _OUT)


PROBES = (
    Probe(3, f"{_MANY} tasks at once, each answer takes 0.1 s", many_at_once),
    Probe(20, "429 for one of two tasks", one_is_slowed_down),
    Probe(21, f"{_OUT} tasks, and nothing but 503 for {_OUTAGE:g} s", outage),
    Probe(23, f"{_MANY} tasks are due at one moment", herd),
    Probe(23, f"{_WAITERS} wait for the same task", several_waiters),
)
