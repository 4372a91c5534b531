"""Probes of the connection: closed, cut, late, or no HTTP at all."""

from __future__ import annotations

import asyncio

from camb_async.simulator import Fault, Simulator

from .clients import Client
from .stage import (
    RUN,
    SUCCESS,
    TASK,
    Outcome,
    Probe,
    Run,
    counted,
    ending,
    ridden_out,
    said,
    staged,
)


_CANCELLED = 50


def creates_once(fault: Fault | str) -> Run:
    """Send one create call that meets a fault; a second call could be billed."""

    async def run(client: Client) -> Outcome:
        async with staged(client) as (simulator, session):
            simulator.fail(fault, method="POST")
            end = await ending(session.create())
            return _creates(simulator, end)

    return run


async def create_on_a_stale_connection(client: Client) -> Outcome:
    """Send a create call on a connection that is closed just then."""
    async with staged(client) as (simulator, session):
        simulator.add_task(TASK, answers=["stale"])
        await session.read(TASK)
        end = await ending(session.create())
        return _creates(simulator, end)


def _creates(simulator: Simulator, end: object) -> Outcome:
    sent = sum(request.method == "POST" for request in simulator.requests)
    text = f"{said(end)}, {counted(sent, 'create call')} arrived"
    return Outcome(text, sent == 1)


async def cancelled(client: Client) -> Outcome:
    """Cancel many waits while nothing is answered, then wait for one more."""
    async with staged(client) as (simulator, session):
        for number in range(_CANCELLED):
            simulator.add_task(f"hung-{number}", answers=["hang"])
        waits = [
            asyncio.ensure_future(session.wait(f"hung-{number}"))
            for number in range(_CANCELLED)
        ]
        await asyncio.sleep(0.3)
        for wait in waits:
            wait.cancel()
        gone = await asyncio.gather(*waits, return_exceptions=True)
        simulator.add_task(TASK, after=0, run_id=RUN)
        end = await ending(session.wait(TASK))
    ended = sum(isinstance(each, asyncio.CancelledError) for each in gone)
    text = f"{ended} of {_CANCELLED} cancelled, then {said(end)}"
    return Outcome(text, ended == _CANCELLED and end == SUCCESS)


PROBES = (
    Probe(1, "An idle connection is closed as a poll is sent", ridden_out("stale")),
    Probe(1, "The same with a create call", create_on_a_stale_connection),
    Probe(1, "It is closed in good order between two polls", ridden_out("idle_close")),
    Probe(2, "The answer to a create call is lost", creates_once("post_lost")),
    Probe(2, "The answer to a create call is a 504", creates_once("504_html")),
    Probe(4, "No answer to a poll", ridden_out("hang")),
    Probe(
        4,
        "An answer at a byte each 0.3 s",
        ridden_out(Fault("drip", seconds=0.3)),
    ),
    Probe(5, f"{_CANCELLED} waits are cancelled", cancelled),
    Probe(7, "The connection is reset", ridden_out("reset")),
    Probe(7, "It is reset after half of a body", ridden_out("reset_mid_body")),
    Probe(7, "Half of what Content-Length says", ridden_out("truncate_content_length")),
    Probe(7, "Chunks without the last one", ridden_out("truncate_chunked")),
    Probe(7, "A cut that only the JSON shows", ridden_out("truncate_close")),
    Probe(8, "No HTTP", ridden_out("garbage")),
    Probe(8, "A thousand headers", ridden_out("many_headers")),
    Probe(8, "Headers without end", ridden_out("endless_headers")),
    Probe(
        8,
        "10,000 times 100 Continue",
        ridden_out(Fault("many_continues", count=10_000)),
    ),
)
