"""The only module that talks HTTP: send one request, get one whole answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Final

import aiohttp
from yarl import URL

from ._connections import NO_TIMEOUT, BrokenOffError, Connections, Generation
from ._limiter import Limiter
from ._refusals import Reply, retry_after
from ._timeouts import Timeouts
from ._wire import BODY_MAX
from .errors import (
    APIConnectionError,
    APITimeoutError,
    CambError,
    InvalidResponseError,
    SessionClosedError,
    showable,
)


_SLOW_DOWN: Final = frozenset(
    {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}
)

_CLOSED: Final = "The session was closed meanwhile."


class Transport:
    """Sends requests within the limits and reads answers within the caps.

    It belongs to the event loop that it is made in, and never follows a redirect.
    """

    def __init__(
        self, connections: Connections, limiter: Limiter, request_timeout: float
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self._connections = connections
        self._limiter = limiter
        self._timeouts = Timeouts(request_timeout)
        self._closed = False

    async def send(
        self,
        method: str,
        url: URL,
        sign: Callable[[], Mapping[str, str]],
        body: bytes | None = None,
    ) -> Reply:
        """Return the server's answer, whatever its status.

        ``sign`` gives the headers, and is asked when the request may leave: the
        key may have changed while it waited. An answer of 401 holds back all
        requests until the limiter is told to go on, or to refuse them.

        Raises:
            APIConnectionError: none came; ``request_sent`` tells whether the
                request may have reached the server.
            InvalidResponseError: what came is not HTTP, was cut, or is too large.
            SessionClosedError: the session was closed meanwhile.
        """
        await self._limiter.acquire()
        if self._closed:
            # Meanwhile, and a borrowed client session would still send it.
            self._limiter.release()
            raise SessionClosedError(_CLOSED)
        lent = self._connections.take()
        try:
            # The timeout starts here, after the slot was had.
            reply = await self._timeouts.run(_exchange(lent, method, url, sign(), body))
        except (aiohttp.ClientError, OSError, RuntimeError, ValueError) as error:
            failure = self._failure(error)
        else:
            self._heed(reply)
            return reply
        finally:
            self._connections.give_back(lent)
            self._limiter.release()
        # Raised here and not in the handler: what aiohttp was doing, with the
        # key among its local variables, must not hang on to the error.
        raise failure

    async def close(self) -> None:
        """End the requests under way, and close the connections that are owned."""
        self._closed = True
        self._timeouts.close()
        await self._connections.close()

    def _heed(self, reply: Reply) -> None:
        """Slow the whole session down if the server asks for it."""
        pacer = self._limiter.pacer
        if reply.status == HTTPStatus.UNAUTHORIZED:
            self._limiter.hold()
        elif reply.status in _SLOW_DOWN:
            pacer.refused(self.loop.time(), retry_after(reply.headers))
        else:
            pacer.answered()

    def _failure(self, error: Exception) -> CambError:
        """Return our error for one of aiohttp's."""
        failure: CambError
        if self._closed or self._connections.closed:
            failure = SessionClosedError(_CLOSED)
            failure.request_sent = True
        elif isinstance(error, TimeoutError):
            failure = APITimeoutError(
                f"No answer within {self._timeouts.seconds:g} s. The service may be "
                "slow: try again, or raise request_timeout."
            )
        elif isinstance(error, aiohttp.ClientConnectorError):
            failure = APIConnectionError(
                f"No connection to the API: {showable(str(error))}. Check the network "
                "and the base URL, then try again.",
                request_sent=False,
            )
        elif isinstance(error, aiohttp.ClientHttpProxyError):
            failure = APIConnectionError(
                f"No connection to the API: the proxy answered {error.status}. Check "
                "the proxy's settings, then try again.",
                request_sent=False,
            )
        elif isinstance(error, aiohttp.ClientResponseError):
            # The parser makes up a status, usually 400, that nobody sent.
            # What it quotes is left out, because a server may have sent the key.
            said = showable(error.message.partition(":")[0])
            failure = InvalidResponseError(
                f"What the server sent is not HTTP that can be read: {said}. Is "
                "something else in between? Trying again may help.",
                body_excerpt=said,
            )
        else:
            cause = error.__cause__ if isinstance(error, BrokenOffError) else error
            failure = APIConnectionError(
                f"The connection broke before an answer came ({type(cause).__name__}: "
                f"{showable(str(cause))}). Try again."
            )
        failure.__cause__ = _bare(error)
        return failure


def _bare(error: Exception) -> Exception | None:
    """Return the error as a cause that can hold no key: no frames, no request."""
    if isinstance(error, TimeoutError | aiohttp.ClientResponseError):
        return None
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


async def _exchange(
    lent: Generation,
    method: str,
    url: URL,
    headers: Mapping[str, str],
    body: bytes | None,
) -> Reply:
    def send() -> Awaitable[aiohttp.ClientResponse]:
        return lent.client.request(
            method,
            url,
            data=None if body is None else _json(body),
            headers=headers,
            allow_redirects=False,
            raise_for_status=False,
            timeout=NO_TIMEOUT,
        )

    try:
        response = await send()
    except BrokenOffError:
        # A read is sent once more if all that happened may be that the server has
        # closed a connection that was idle.
        if method != "GET" or not lent.may_have_been_idle():
            raise
        response = await send()
    try:
        data, flaw = await _read_bounded(response)
    finally:
        # If all has come, aiohttp has kept the connection, although this read may
        # have been cancelled in the same moment.
        if response.content.is_eof():
            lent.answered()
        else:
            response.close()
    return Reply(response.status, response.headers, data, flaw)


def _json(body: bytes) -> aiohttp.BytesPayload:
    # Bytes alone would go out as application/octet-stream, which is refused.
    return aiohttp.BytesPayload(body, content_type="application/json")


async def _read_bounded(
    response: aiohttp.ClientResponse,
) -> tuple[bytes, str | None]:
    """Return the body up to the cap, and what is wrong if it is not all there."""
    content = response.content
    data = b""
    try:
        # Mostly the body has come with the headers, so that this is all.
        data = await content.readany()
        while not content.at_eof() and len(data) <= BODY_MAX:
            data += await content.readany()
    except aiohttp.ClientPayloadError:
        return data, "it was cut short"
    if len(data) > BODY_MAX:
        return data, f"with more than {BODY_MAX} bytes, the most that is read"
    return data, None
