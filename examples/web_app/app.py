"""The application: its routes, and what lives as long as it does."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypedDict

import anyio
import attrs
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from camb_async import CambError

from .board import Cursor
from .desk import Desk
from .guard import (
    SecurityHeaders,
    read_fields,
    refuse_other_sites,
    visitor_of,
    welcome,
)
from .previews import PreviewError, Previews, is_local, link_session
from .problems import LEFT_UNKNOWN, Problem
from .service import is_simulated, open_records, open_service
from .stream import event_stream
from .voice import Voice, card


logger = logging.getLogger(__name__)

#: The names by which this machine may be asked for.
LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "[::1]")
LEASE = 10.0  # seconds
DESCRIPTION_MAX = 1000  # characters
TEXT_MAX = 1000

_STATIC = Path(__file__).parent / "static"


class State(TypedDict):
    """What the lifespan hands to every request, as ``request.state``."""

    desk: Desk
    heartbeat: float


def create_app(
    *,
    hosts: Iterable[str] = LOOPBACK_HOSTS,
    heartbeat: float = 10.0,
    lease: float = LEASE,
) -> Starlette:
    """Return the application.

    Args:
        hosts: the host names it may be asked for. A page of somebody else's that
            has its own name point to this machine is refused by that.
        heartbeat: seconds between two signs of life on each stream.
        lease: seconds after which others go on with what a dead process watched.
    """

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncGenerator[State]:
        async with open_desk(lease=lease) as desk:
            yield {"desk": desk, "heartbeat": heartbeat}

    return Starlette(
        routes=[
            Route("/", page),
            Route("/events", events),
            Route("/voices", order, methods=["POST"]),
            Route("/voices/{voice_id}/watch", watch_again, methods=["POST"]),
            Route("/voices/{voice_id}/previews", find_previews, methods=["POST"]),
            Route("/voices/{voice_id}/previews/{number:int}", preview),
            Mount("/static", StaticFiles(directory=_STATIC)),
        ],
        middleware=[
            Middleware(SecurityHeaders),
            Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts)),
        ],
        exception_handlers={HTTPException: refusal},
        lifespan=lifespan,
    )


@asynccontextmanager
async def open_desk(*, lease: float) -> AsyncGenerator[Desk]:
    """Provide the desk that all visitors share."""
    async with (
        open_service() as camb,
        link_session(local=is_local(camb.base_url)) as http,
        open_records(lease=lease) as (store, orders),
        anyio.create_task_group() as group,
    ):
        desk = Desk(camb, store, orders, Previews(camb, http))
        await desk.open()
        group.start_soon(desk.run)
        yield desk
        group.cancel_scope.cancel()


async def page(request: Request) -> Response:
    """Serve the page, and give a new visitor a name."""
    response = FileResponse(
        _STATIC / "index.html", headers={"Cache-Control": "no-store"}
    )
    welcome(request, response)
    return response


async def events(request: Request) -> Response:
    """Stream a visitor's news from where the browser left off.

    A browser that reconnects by itself tells by a header; a page that had to open
    a new connection tells by a parameter.
    """
    desk, visitor = _desk(request), visitor_of(request)
    if not desk.bell.has_room(visitor):
        raise HTTPException(503, "Too many pages are open.", {"Retry-After": "10"})
    header = request.headers.get("last-event-id")
    last = header or request.query_params.get("last_event_id")
    return event_stream(
        desk,
        visitor,
        Cursor.parse(last),
        heartbeat=request.state.heartbeat,
        simulated=is_simulated(),
    )


async def order(request: Request) -> Response:
    """Order a voice."""
    refuse_other_sites(request)
    visitor = visitor_of(request)
    fields = await read_fields(request)
    description, text = _tidy(fields, "description"), _tidy(fields, "text")
    problem = _check(description, text)
    if problem is not None:
        return _problem(problem)
    try:
        result = await _desk(request).order(visitor, description=description, text=text)
    except asyncio.CancelledError:
        # Only a server that stops does this, and it waits no longer: the browser
        # gets a last word instead of a torn connection.
        result = LEFT_UNKNOWN
    if isinstance(result, Problem):
        return _problem(result)
    return JSONResponse(card(result, time.time()), 201)


async def watch_again(request: Request) -> Response:
    """Watch a voice again that was given up, not by the service."""
    refuse_other_sites(request)
    voice = _voice(request)
    if voice.is_running or not voice.outcome.can_resume:
        raise HTTPException(409, "This voice is not one to watch again.")
    await _desk(request).watch_again(voice)
    return Response(status_code=204)


async def find_previews(request: Request) -> Response:
    """Look for the previews of a voice once more."""
    refuse_other_sites(request)
    voice = _voice(request)
    if not voice.previews_failed:
        raise HTTPException(409, "The previews of this voice are not missing.")
    await _desk(request).find_previews(voice)
    return Response(status_code=204)


async def preview(request: Request) -> Response:
    """Pass the audio of a preview on."""
    voice = _voice(request)
    number: int = request.path_params["number"]
    if voice.run_id is None or not 1 <= number <= (voice.previews or 0):
        raise HTTPException(404, "There is no such preview.")
    previews = _desk(request).previews
    try:
        return await previews.open(voice.run_id, number, request.headers.get("range"))
    except (CambError, PreviewError) as error:
        logger.warning("Preview %s of %s: %s", number, voice.task, error)
        raise HTTPException(502, "The preview cannot be had just now.") from None


def refusal(_request: Request, error: Exception) -> Response:
    """Return what was refused in the form in which the page shows problems."""
    assert isinstance(error, HTTPException)  # noqa: S101 - it is registered so
    body = {"title": "That did not work", "advice": error.detail}
    return JSONResponse(body, error.status_code, error.headers)


def _desk(request: Request) -> Desk:
    desk: Desk = request.state.desk
    return desk


def _voice(request: Request) -> Voice:
    voice = _desk(request).board.find(
        visitor_of(request), request.path_params["voice_id"]
    )
    if voice is None:
        raise HTTPException(404, "There is no such voice.")
    return voice


def _tidy(fields: Any, name: str) -> str:
    value = fields.get(name)
    return value.strip() if isinstance(value, str) else ""


def _check(description: str, text: str) -> Problem | None:
    wrong = {
        name: f"Write at most {most} characters." if value else "Write something here."
        for name, value, most in (
            ("description", description, DESCRIPTION_MAX),
            ("text", text, TEXT_MAX),
        )
        if not 0 < len(value) <= most
    }
    if not wrong:
        return None
    return Problem(
        status=422,
        title="Something is missing or too long",
        advice="Correct what is marked, then send it again.",
        fields=wrong,
    )


def _problem(problem: Problem) -> Response:
    headers: dict[str, str] = {}
    if problem.retry_after is not None:
        headers["Retry-After"] = str(round(problem.retry_after))
    body = attrs.asdict(problem)
    return JSONResponse(body, problem.status, headers)
