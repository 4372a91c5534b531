"""Probes of how long to wait: as the server asks, and as the user does."""

from __future__ import annotations

import asyncio
from email.utils import formatdate
from time import time

from camb_async.simulator import Fault

from .clients import Client
from .refusals import reads_at_most
from .stage import RUN, SUCCESS, TASK, NoEnd, Outcome, Probe, Run, ending, said, staged


# A timer of asyncio may fire a clock tick early.
_TICK = 0.05
_UNREADABLE = (
    *("-1", "nan", "inf", "1e400", "9" * 4400, "٣", "1_000", "5, 10", "soon"),
)


def waits_as_asked(seconds: float, **headers: str) -> Run:
    """Read a status, be told to wait, and see when it is read again."""

    async def run(client: Client) -> Outcome:
        sent = {name.replace("_", "-"): text for name, text in headers.items()}
        if not sent:
            # A date has whole seconds, and opening a client takes a while.
            sent = {"Retry-After": formatdate(time() + seconds + 2, usegmt=True)}
        async with staged(client) as (simulator, session):
            told = Fault("http", status=429, body={}, headers=sent)
            simulator.add_task(TASK, answers=["PENDING", told, "SUCCESS"], run_id=RUN)
            end = await ending(session.wait(TASK))
            times = [request.at for request in simulator.requests]
        in_time = times[2] - times[1] >= seconds - _TICK if end == SUCCESS else None
        text = ", but asks too early" if in_time is False else ""
        return Outcome(said(end) + text, bool(in_time))

    return run


async def unreadable_retry_after(client: Client) -> Outcome:
    """Send one Retry-After that means nothing after the other."""
    ends = await asyncio.gather(
        *(_once(client, Fault("429", retry_after=text)) for text in _UNREADABLE)
    )
    well = ends.count(SUCCESS)
    others = sorted(
        f"; {said(end)} after `{text[:9]}`"
        for text, end in zip(_UNREADABLE, ends, strict=True)
        if end != SUCCESS
    )
    text = f"{well} of {len(ends)} `SUCCESS`{''.join(others)}"
    return Outcome(text, well == len(ends))


async def _once(client: Client, fault: Fault) -> object:
    async with staged(client) as (simulator, session):
        simulator.add_task(TASK, answers=[fault, "SUCCESS"], run_id=RUN)
        return await ending(session.wait(TASK))


async def deadline(client: Client) -> Outcome:
    """Wait half a second at the most for a task that goes on and on."""
    async with staged(client) as (simulator, session):
        simulator.add_task(TASK, status="PENDING", after=99)
        end = await ending(session.wait(TASK, deadline=0.5), 2)
    return Outcome(said(end), not isinstance(end, NoEnd))


async def timeout(client: Client) -> Outcome:
    """Put asyncio's timeout around a wait whose answer never comes."""
    async with staged(client) as (simulator, session):
        simulator.add_task(TASK, answers=["hang"])

        async def bounded() -> None:
            async with asyncio.timeout(0.3):
                await session.wait(TASK)

        end = await ending(bounded())
    return Outcome(said(end), isinstance(end, TimeoutError))


PROBES = (
    Probe(18, "`Retry-After: 2`", waits_as_asked(2.0, Retry_After="2")),
    Probe(18, "`Retry-After: 2.5`", waits_as_asked(2.5, Retry_After="2.5")),
    Probe(18, "`Retry-After` with a date", waits_as_asked(2.0)),
    Probe(18, "`retry-after-ms: 2500`", waits_as_asked(2.5, retry_after_ms="2500")),
    Probe(
        18,
        "`Retry-After: nan`, `1_000`, 4,400 digits and others",
        unreadable_retry_after,
    ),
    Probe(
        19,
        "A read that is asked to wait an hour",
        reads_at_most(1, Fault("429", retry_after="3600")),
    ),
    Probe(25, "The task never ends; half a second was given", deadline),
    Probe(26, "`asyncio.timeout` around a wait", timeout),
)
