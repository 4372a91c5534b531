"""Probes of HTTP errors: which pass, how long to wait, and what they end."""

from __future__ import annotations

import asyncio

from camb_async.simulator import Fault

from .clients import Client
from .stage import (
    RUN,
    SUCCESS,
    TASK,
    NoEnd,
    Outcome,
    Probe,
    Run,
    counted,
    ending,
    ridden_out,
    said,
    scripted,
    staged,
)


_OTHER = "another"


def beside_another(*answers: Fault | str) -> Run:
    """Wait for a task that ends badly, beside one that does not."""

    async def run(client: Client) -> Outcome:
        async with staged(client) as (simulator, session):
            simulator.add_task(TASK, answers=answers)
            simulator.add_task(
                _OTHER, answers=["PENDING"] * 5 + ["SUCCESS"], run_id=RUN
            )
            bad, good = await asyncio.gather(
                ending(session.wait(TASK)), ending(session.wait(_OTHER))
            )
        fine = good == SUCCESS and bad != SUCCESS and not isinstance(bad, NoEnd)
        return Outcome(f"{said(bad)}; the other {said(good)}", fine)

    return run


def key_is_refused(watched: int) -> Run:
    """Revoke the key while tasks are waited for."""

    async def run(client: Client) -> Outcome:
        async with staged(client) as (simulator, session):
            for number in range(watched):
                simulator.add_task(f"task-{number}", status="PENDING", after=99)
            waits = asyncio.gather(
                *(ending(session.wait(f"task-{number}")) for number in range(watched))
            )
            await asyncio.sleep(0.3)
            simulator.api_key = "a new one"
            ends = await waits
        words = sorted({said(end) for end in ends})
        stuck = any(isinstance(end, NoEnd) for end in ends)
        return Outcome(f"all end: {', '.join(words)}", not stuck)

    return run


async def key_is_replaced(client: Client) -> Outcome:
    """Put a new key in the place of the old one while a task is waited for."""
    async with staged(client) as (simulator, _):
        new = "a-new-key"
        answers = ["PENDING"] * 3 + ["SUCCESS"]
        simulator.add_task(TASK, answers=answers, run_id=RUN)
        async with client.open(
            simulator.base_url, lambda: simulator.api_key
        ) as session:
            await session.read(TASK)
            simulator.api_key = new
            end = await ending(session.wait(TASK))
    return Outcome(said(end), end == SUCCESS)


def reads_at_most(times: int, fault: Fault) -> Run:
    """Read one status that is always refused."""

    async def run(client: Client) -> Outcome:
        async with staged(client) as (simulator, session):
            simulator.add_task(TASK, answers=[fault])
            end = await ending(session.read(TASK))
            sent = len(simulator.requests)
        fine = sent <= times and not isinstance(end, NoEnd)
        return Outcome(f"{said(end)}, {counted(sent, 'request')}", fine)

    return run


PROBES = (
    Probe(14, "The key is revoked while 20 tasks are waited for", key_is_refused(20)),
    Probe(14, "The key is replaced by a new one", key_is_replaced),
    Probe(14, "403 for one of two tasks", beside_another("PENDING", "403")),
    Probe(15, "402 for one of two tasks", beside_another("PENDING", "402")),
    Probe(
        15,
        "PAYMENT_REQUIRED is the end of one of two tasks",
        beside_another("PENDING", "PAYMENT_REQUIRED"),
    ),
    Probe(16, "404 right after the create call", ridden_out("404", "404")),
    Probe(16, "404 for ever", scripted("404")),
    *(
        Probe(17, f"One {name.replace('_html', ' with a web page')}", ridden_out(name))
        for name in ("408", "429", "500", "502_html", "503", "504_html")
    ),
    Probe(17, "One 425", ridden_out(Fault("http", status=425))),
    Probe(17, "One 409", ridden_out(Fault("http", status=409))),
    Probe(17, "Four 503 in a row", ridden_out(*["503"] * 4)),
    Probe(17, "Twelve 503 in a row", ridden_out(*["503"] * 12)),
    Probe(
        17, "A read that is answered 501", reads_at_most(1, Fault("http", status=501))
    ),
)
