"""Probes of where requests go, and of where the key can be seen."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import urlsplit

from camb_async.simulator import Fault
from tests.raw_server import answer, raw_server

from .clients import Client, Key, Session
from .stage import (
    RUN,
    SUCCESS,
    TASK,
    Outcome,
    Probe,
    Run,
    counted,
    ending,
    said,
    staged,
)


_HERE = Path(__file__).parent
_KEY = "canary-4f1c9d"
_PENDING = answer(
    b'{"status": "PENDING", "task_id": "theirs"}', "Content-Type: application/json"
)
_Use = Callable[[Session], Awaitable[object]]


async def _answer_pending(_target: str, writer: asyncio.StreamWriter) -> None:
    writer.write(_PENDING)


async def _tried(client: Client, base_url: str, key: Key, use: _Use) -> object:
    """Return what comes of opening a session and using it."""

    async def tried() -> object:
        async with client.open(base_url, key) as session:
            return await use(session)

    return await ending(tried())


def _reading(task_id: str) -> _Use:
    return lambda session: session.read(task_id)


def redirected(use: _Use, status: int) -> Run:
    """Answer with a redirect to another server, and look what that one gets."""

    async def run(client: Client) -> Outcome:
        async with (
            raw_server(_answer_pending) as other,
            staged(client) as (simulator, session),
        ):
            away = f"{other.origin}/apis/text-to-voice/{TASK}"
            fault = Fault("redirect", location=away, status=status)
            simulator.add_task(TASK, answers=["PENDING", fault, "SUCCESS"], run_id=RUN)
            simulator.fail(fault, method="POST")
            end = await ending(use(session))
            told = any(simulator.api_key in head for head in other.heads)
        where = "the other server gets the key" if told else "nothing goes there"
        return Outcome(f"{said(end)}; {where}", not other.heads)

    return run


async def plain_http(client: Client) -> Outcome:
    """Be opened for plain http to an address that is not called loopback."""
    async with raw_server(_answer_pending) as server:
        port = urlsplit(server.origin).port
        end = await _tried(client, f"http://0.0.0.0:{port}", _KEY, _reading(TASK))
    sent = "the key goes out in the clear" if server.heads else "nothing sent"
    return Outcome(f"{said(end)}; {sent}", not server.heads)


def led_elsewhere(*task_ids: str) -> Run:
    """Read the status of what is no task id, and look what is asked for."""

    async def run(client: Client) -> Outcome:
        ends: set[str] = set()
        async with raw_server(_answer_pending) as server:
            for task_id in task_ids:
                url = f"{server.origin}/apis"
                end = await _tried(client, url, _KEY, _reading(task_id))
                ends |= {said(end)} if isinstance(end, Exception) else set()
        targets = [f"`{target}`" for target in server.targets]
        asked = f"asks for {', '.join(targets)}" if targets else "nothing sent"
        return Outcome("; ".join([*sorted(ends), asked]), not targets)

    return run


def with_key(key: str) -> Run:
    """Wait for a task with a key that was copied badly."""

    async def run(client: Client) -> Outcome:
        async with staged(client) as (simulator, _):
            simulator.api_key = _KEY
            simulator.add_task(TASK, after=0, run_id=RUN)
            end = await _tried(client, simulator.base_url, key, lambda s: s.wait(TASK))
            sent = len(simulator.requests)
        shown = isinstance(end, Exception) and _KEY in str(end)
        text = f"{said(end)}{'; its message shows the key' if shown else ''}"
        asked = "" if end == SUCCESS else f", {counted(sent, 'request')}"
        return Outcome(text + asked, end == SUCCESS or not shown)

    return run


def hunted(fault: str) -> Run:
    """Look for the key in an error and in a traceback that shows local variables."""

    async def run(client: Client) -> Outcome:
        async with staged(client) as (simulator, _):
            simulator.api_key = _KEY
            simulator.add_task(TASK, answers=[fault])
            end = await _tried(client, simulator.base_url, _KEY, _reading(TASK))
        assert isinstance(end, Exception), end
        places = {
            "its text": f"{end} {end!r} {end.args}",
            "the local variables of its traceback": _locals_of(end),
        }
        found = [place for place, text in places.items() if _KEY in text]
        where = f"the key is in {' and '.join(found)}" if found else "no key"
        return Outcome(f"{said(end)}; {where}", not found)

    return run


def _locals_of(error: BaseException) -> str:
    """Return the local variables of a traceback and its causes, but not of ours."""
    told = traceback.TracebackException.from_exception(error, capture_locals=True)
    texts: list[str] = []
    link: traceback.TracebackException | None = told
    while link is not None:
        frames = [f for f in link.stack if not Path(f.filename).is_relative_to(_HERE)]
        texts += [str(frame.locals) for frame in frames]
        link = link.__cause__ or link.__context__
    return " ".join(texts)


PROBES = (
    Probe(
        34,
        "302 to another server, while a task is waited for",
        redirected(lambda session: session.wait(TASK), 302),
    ),
    Probe(
        34,
        "307 to another server, to a create call",
        redirected(lambda session: session.create(), 307),
    ),
    Probe(35, "A base URL with plain http", plain_http),
    Probe(39, r"`../../admin?x=1` as a task id", led_elsewhere("../../admin?x=1")),
    Probe(39, "`a/b`, `a?x` and `a#f`", led_elsewhere("a/b", "a?x", "a#f")),
    Probe(39, "`%2e%2e` and nothing at all", led_elsewhere("%2e%2e", "")),
    Probe(39, r"`a\nb` with a real newline", led_elsewhere("a\nb")),
    Probe(40, "A newline after the key", with_key(f"{_KEY}\n")),
    Probe(40, "A zero-width space after the key", with_key(f"{_KEY}\u200b")),
    Probe(40, "An empty key", with_key("")),
    Probe(41, "A hunt for the key after a 401", hunted("401")),
    Probe(41, "A hunt for the key after a reset", hunted("reset")),
)
