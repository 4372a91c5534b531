"""The client session that requests go through, renewed before it is too old.

A connection that is busy is never looked up again, so a service that moves to
another address would not be followed for as long as the old one answers. aiohttp
has no limit for the age of a connection; therefore a client session of our own is
replaced as a whole, and closed when the last of its requests has ended.
"""

from __future__ import annotations

import asyncio
from math import inf

import aiohttp
import attrs


#: Seconds; no new request goes over connections of a client session that is older.
AGE_MAX = 300.0

_KEPT_MAX = 16

# The timeout is ours: aiohttp's counts the wait for a slot, and costs more.
NO_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=None)


class BrokenOffError(aiohttp.ClientConnectionError):
    """The connection broke after the request had left, and before an answer."""


async def send_once(
    request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Keep aiohttp from sending a GET that failed a second time (a middleware).

    It does so for each of them, so an outage would have twice the load.
    """
    try:
        return await send(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise BrokenOffError(error) from error


def own_session() -> aiohttp.ClientSession:
    """Return a client session that keeps no cookies and reads no environment."""
    return aiohttp.ClientSession(
        # The limiter counts connections; servers close idle ones after 60 to 75 s.
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=30.0),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=NO_TIMEOUT,
        middlewares=(send_once,),
    )


@attrs.define(eq=False)
class Generation:
    """A client session, until when it takes requests, and how many it has.

    ``kept`` is how many of its connections may be open and idle, at the most: each
    answer leaves one behind, which the server may have closed when it is used.
    """

    client: aiohttp.ClientSession
    ends_at: float = inf
    requests: int = 0
    kept: int = 0

    def answered(self) -> None:
        """Take note of an answer."""
        if self.kept < _KEPT_MAX:
            self.kept += 1

    def may_have_been_idle(self) -> bool:
        """Return whether a connection that broke may have been an idle one."""
        if not self.kept:
            return False
        self.kept -= 1
        return True


class Connections:
    """Lends out a client session for each request: a borrowed one, or its own.

    A borrowed one is never renewed and never closed. Belongs to the loop it is
    made in.
    """

    def __init__(self, borrowed: aiohttp.ClientSession | None) -> None:
        self._loop = asyncio.get_running_loop()
        self._owned = borrowed is None
        self._newest = self._begin() if borrowed is None else Generation(borrowed)
        self._retired: set[Generation] = set()
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def closed(self) -> bool:
        """Whether no request can be made, because the client session is closed."""
        return self._newest.client.closed

    def take(self) -> Generation:
        """Return what the next request goes through; ``give_back`` must follow."""
        if self._loop.time() >= self._newest.ends_at:
            self._renew()
        self._newest.requests += 1
        return self._newest

    def give_back(self, generation: Generation) -> None:
        """Take note that a request has ended."""
        generation.requests -= 1
        if generation in self._retired:
            self._close_if_idle(generation)

    async def close(self) -> None:
        """Close what is owned, requests under way included."""
        self._newest.ends_at = inf  # whoever comes now finds it closed
        if self._owned:
            for generation in (self._newest, *self._retired):
                await generation.client.close()
        self._retired.clear()
        if self._closing:
            await asyncio.wait(self._closing)

    def _begin(self) -> Generation:
        return Generation(own_session(), self._loop.time() + AGE_MAX)

    def _renew(self) -> None:
        old, self._newest = self._newest, self._begin()
        self._retired.add(old)
        self._close_if_idle(old)

    def _close_if_idle(self, generation: Generation) -> None:
        if not generation.requests:
            self._retired.discard(generation)
            task = self._loop.create_task(generation.client.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
