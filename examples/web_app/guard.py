"""Who may do what: visitors, requests from other sites, sizes, headers."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping
from typing import Any, Final, cast
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send


BODY_MAX = 64 * 1024  # bytes

_COOKIE = "visitor"
_COOKIE_SECONDS = 30 * 24 * 3600
_VISITOR: Final = re.compile(r"[A-Za-z0-9_-]{43}")

_HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; media-src 'self'; form-action 'none'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


class SecurityHeaders:
    """Puts the headers that confine the page on every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, with the headers."""

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, with_headers)


def visitor_of(request: Request) -> str:
    """Return who asks.

    Raises:
        HTTPException: 403, nobody knows: there is no cookie.
    """
    visitor = request.cookies.get(_COOKIE, "")
    if not _VISITOR.fullmatch(visitor):
        raise HTTPException(403, "Open the page first, and allow its cookie.")
    return visitor


def welcome(request: Request, response: Response) -> None:
    """Give a new visitor a name that only this browser knows."""
    if not _VISITOR.fullmatch(request.cookies.get(_COOKIE, "")):
        response.set_cookie(
            _COOKIE,
            secrets.token_urlsafe(32),
            max_age=_COOKIE_SECONDS,
            httponly=True,
            samesite="lax",
            secure=request.url.scheme == "https",
        )


def refuse_other_sites(request: Request) -> None:
    """Refuse what a page of another site had the visitor's browser send.

    Raises:
        HTTPException: 403, it comes from elsewhere.
    """
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    if site is not None:
        ours = site == "same-origin"
    elif origin is not None:
        ours = urlsplit(origin).netloc == request.headers.get("host")
    else:
        ours = True  # No browser leaves out both, and nothing else has the cookie.
    if not ours:
        raise HTTPException(403, "This may be sent from this site's own page only.")


async def read_fields(request: Request) -> Mapping[str, object]:
    """Return the JSON object that was sent.

    Raises:
        HTTPException: 413, 415 or 400: it is too large, or is none.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip()
    if kind != "application/json":
        raise HTTPException(415, "Send JSON.")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_MAX:
            raise HTTPException(413, "This is too long.")
    try:
        fields: Any = json.loads(body)
    except (ValueError, RecursionError):
        raise HTTPException(400, "This is not JSON.") from None
    if not isinstance(fields, dict):
        raise HTTPException(400, "Send a JSON object.")
    return cast("dict[str, object]", fields)
