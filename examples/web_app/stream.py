"""A visitor's news as server-sent events, from where the browser left off."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Iterator

import anyio
from sse_starlette import EventSourceResponse, JSONServerSentEvent, ServerSentEvent

from .board import Cursor, Update
from .desk import Desk
from .outcomes import Left
from .voice import card


_RETRY_MS = 1500
_LIKELY_SECONDS = 1.0  # between two looks at what is likely left
_GRACE = 2.0  # seconds that a stream has to end in good order when the server stops


def event_stream(
    desk: Desk,
    visitor: str,
    cursor: Cursor | None,
    *,
    heartbeat: float,
    simulated: bool,
) -> EventSourceResponse:
    """Return an endless response of events.

    ``snapshot`` holds all voices there are; ``voice`` one that changed; ``likely``
    what is likely left of those in the making, whenever that changes; ``beat``
    comes every ``heartbeat`` seconds, so that the page notices a dead connection.
    The stream ends when the server is told to stop.
    """

    def beat() -> ServerSentEvent:
        return ServerSentEvent("", event="beat")

    rung, closing = asyncio.Event(), anyio.Event()

    async def stop() -> None:
        await closing.wait()
        rung.set()

    async def events() -> AsyncGenerator[ServerSentEvent]:
        nonlocal cursor
        told: dict[str, Left] = {}
        hello = {"heartbeat": heartbeat, "simulated": simulated}
        yield JSONServerSentEvent(hello, event="hello", retry=_RETRY_MS)
        with desk.bell.listen(visitor, rung):
            while not closing.is_set():
                rung.clear()
                update = desk.board.since(visitor, cursor)
                for event in _events(update, time.time()):
                    yield event
                cursor = update.cursor
                likely = desk.likely(visitor)
                if likely != told:
                    told = likely
                    yield JSONServerSentEvent(likely, event="likely")
                with anyio.move_on_after(_LIKELY_SECONDS):
                    await rung.wait()

    return EventSourceResponse(
        events(),
        ping=heartbeat,
        ping_message_factory=beat,
        data_sender_callable=stop,
        shutdown_event=closing,
        shutdown_grace_period=_GRACE,
    )


def _events(update: Update, now: float) -> Iterator[ServerSentEvent]:
    cards = [card(voice, now) for voice in update.voices]
    if update.whole:
        life = update.cursor.life
        yield JSONServerSentEvent(
            {"life": life, "voices": cards}, event="snapshot", id=str(update.cursor)
        )
        return
    for voice, shown in zip(update.voices, cards, strict=True):
        cursor = Cursor(update.cursor.life, voice.changed)
        yield JSONServerSentEvent(shown, event="voice", id=str(cursor))
