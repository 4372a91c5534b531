"""What goes back over the wire: whole answers, and answers gone wrong."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from http.client import responses
from typing import TYPE_CHECKING, Any, Protocol

import attrs
from aiohttp import web
from multidict import CIMultiDict


if TYPE_CHECKING:
    from aiohttp.abc import AbstractStreamWriter


Headers = tuple[tuple[str, str], ...]

JSON: Headers = (("Content-Type", "application/json"),)
TEXT: Headers = (("Content-Type", "text/plain; charset=utf-8"),)
HTML: Headers = (("Content-Type", "text/html; charset=utf-8"),)


@attrs.frozen
class Answer:
    """One whole HTTP answer; ``delay`` is how many seconds it is held back."""

    status: int
    body: bytes = b""
    headers: Headers = JSON
    delay: float = 0.0

    @classmethod
    def json(cls, status: int, body: object, *headers: tuple[str, str]) -> Answer:
        """Return an answer whose body is ``body`` as JSON."""
        return cls(status, json.dumps(body).encode(), (*JSON, *headers))

    @classmethod
    def detail(cls, status: int, detail: object, *headers: tuple[str, str]) -> Answer:
        """Return an error as FastAPI words it: ``{"detail": ...}``."""
        return cls.json(status, {"detail": detail}, *headers)

    def loads(self) -> Any:
        """Return the body, read as JSON."""
        return json.loads(self.body)

    def with_headers(self, *headers: tuple[str, str]) -> Answer:
        """Return the same answer with more headers."""
        return attrs.evolve(self, headers=self.headers + headers)

    def head(self, *framing: tuple[str, str]) -> bytes:
        """Return status line and headers as bytes, for answers written by hand."""
        lines = [f"HTTP/1.1 {self.status} {responses.get(self.status, 'Unknown')}"]
        lines += [f"{name}: {value}" for name, value in (*self.headers, *framing)]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    def raw(self) -> bytes:
        """Return all of the answer as bytes, framed by its Content-Length."""
        return self.head(("Content-Length", str(len(self.body)))) + self.body

    def response(self) -> web.Response:
        """Return the answer in the form aiohttp sends."""
        return web.Response(
            status=self.status, body=self.body, headers=CIMultiDict(self.headers)
        )


class WireAnswer(web.StreamResponse):
    """An answer written past aiohttp: ``send`` has the transport to itself.

    The connection is closed when ``send`` returns, if it left it open.
    """

    def __init__(self, send: Callable[[asyncio.Transport], Awaitable[None]]) -> None:
        super().__init__()
        self._send = send
        self.force_close()

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Write the answer, whatever it is."""
        transport = request.transport
        if transport is not None:
            await self._send(transport)
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Add nothing: all there is was written by ``send``."""


Reply = Answer | WireAnswer


@attrs.frozen
class Call:
    """What a fault may use to answer one request.

    Attributes:
        path: the path that was asked for, with the prefix and the query.
        truth: answers the request as if there were no fault. It also acts: a
            task is only created if it is called.
        speed: the factor on time.
        condemn: has the next request on this connection get no answer.
    """

    path: str
    truth: Callable[[], Answer]
    speed: float
    condemn: Callable[[], None]

    async def pause(self, seconds: float) -> None:
        """Wait that many simulated seconds."""
        await asyncio.sleep(seconds / self.speed)


class FaultFunction(Protocol):
    """What stands behind a fault's name; options are keyword arguments."""

    __name__: str

    def __call__(self, call: Call, /, *args: Any, **options: Any) -> Reply:
        """Return what is sent instead of the true answer."""
        ...


def status_answer(
    status: str,
    *,
    run_id: int | None = None,
    exception_reason: str | None = None,
    message: str | Mapping[str, Any] | None = None,
) -> Answer:
    """Return a status answer with the four fields the service sends."""
    body = {
        "status": status,
        "run_id": run_id,
        "exception_reason": exception_reason,
        "message": message,
    }
    return Answer.json(200, body)
