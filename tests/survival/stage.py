"""Where a client meets a fault, and the words for what it made of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TypeVar

import attrs

from camb_async.simulator import Fault, Simulator

from .clients import REQUEST_TIMEOUT, Client, Report, Session


#: Seconds after which a client is taken to be stuck.
PATIENCE = 6.0
RUN = 8827
SUCCESS = Report("SUCCESS", RUN)
TASK = "voice"

_ResultT = TypeVar("_ResultT")


class NoEnd(Exception):  # noqa: N818 - it is an outcome
    """Nothing came of it within the patience of the run."""


@attrs.frozen
class Outcome:
    """What a client made of a fault, and whether that is fine."""

    text: str
    fine: bool

    def __str__(self) -> str:
        return f"{'✓' if self.fine else '**✗**'} {self.text}"


Run = Callable[[Client], Awaitable[Outcome]]


@attrs.frozen
class Probe:
    """One row: the number of the case, what happens, and how to let it happen."""

    case: int
    what: str
    run: Run


async def ending(
    awaitable: Awaitable[_ResultT], patience: float = PATIENCE
) -> _ResultT | Exception:
    """Return what comes of it: a result, or whatever is raised."""
    timeout = asyncio.timeout(patience)
    try:
        async with timeout:
            return await awaitable
    except Exception as error:  # noqa: BLE001 - what is raised is what is measured
        return NoEnd(f"no end within {patience:g} s") if timeout.expired() else error


def said(end: object) -> str:
    """Return the ending in a few words."""
    if isinstance(end, Report):
        odd = "" if end.run_id in (RUN, None) else f" with run id {end.run_id}"
        return f"`{end.status}`{odd}"
    if isinstance(end, NoEnd):
        return str(end)
    if isinstance(end, Exception):
        status: object = getattr(end, "status_code", None)
        return f"`{type(end).__name__}`" + (f" {status}" if status else "")
    return "a task id"


def counted(count: int, thing: str) -> str:
    """Return a number with its noun."""
    return f"{count} {thing}" + ("" if count == 1 else "s")


@contextlib.asynccontextmanager
async def staged(
    client: Client, request_timeout: float = REQUEST_TIMEOUT
) -> AsyncGenerator[tuple[Simulator, Session]]:
    """Run a simulator, and a session of the client with it."""
    async with (
        Simulator() as simulator,
        client.open(simulator.base_url, simulator.api_key, request_timeout) as session,
    ):
        yield simulator, session


def ridden_out(*faults: Fault | str) -> Run:
    """Wait for a task that is PENDING, then faulty, then a SUCCESS."""
    return scripted("PENDING", *faults, "SUCCESS", expected=SUCCESS)


def scripted(*answers: Fault | str, expected: Report | None = None) -> Run:
    """Wait for a task of these answers; any end will do if none is expected."""

    async def run(client: Client) -> Outcome:
        async with staged(client) as (simulator, session):
            simulator.add_task(TASK, answers=answers, run_id=RUN)
            end = await ending(session.wait(TASK))
            sent = len(simulator.requests)
        # When the last answer repeats, the number is a matter of speed.
        text = f", {counted(sent, 'request')}" if sent <= len(answers) else ""
        fine = not isinstance(end, NoEnd) if expected is None else end == expected
        return Outcome(said(end) + text, fine)

    return run
