"""A web server on a loopback port that starts and stops without a trace."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import attrs
from aiohttp import web


_BACKLOG = 4096
_MAX_BODY = 64 * 1024 * 1024
# Answers that are held back do not hold back the end: they are cut off.
_SHUTDOWN_TIMEOUT = 0.05


@attrs.frozen
class Loopback:
    """A running server; ``origin`` is its URL without a path."""

    origin: str
    _listener: socket.socket
    _runner: web.ServerRunner

    @classmethod
    async def start(
        cls,
        handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        port: int,
    ) -> Loopback:
        """Listen on ``port`` (0: any that is free) and return the running server.

        Raises:
            OSError: the port is taken.
        """
        listener = socket.create_server(("127.0.0.1", port))
        server = web.Server(
            handler,
            request_factory=_make_request,
            handler_cancellation=True,
            access_log=None,
        )
        runner = web.ServerRunner(server, shutdown_timeout=_SHUTDOWN_TIMEOUT)
        await runner.setup()
        await web.SockSite(runner, listener, backlog=_BACKLOG).start()
        port = listener.getsockname()[1]
        return cls(f"http://127.0.0.1:{port}", listener, runner)

    async def stop(self) -> None:
        """Close the port and every connection, whatever is under way on them."""
        # A connection accepted while its server closes is lost and leaks its
        # socket: accept no more, and let those half accepted be made.
        asyncio.get_running_loop().remove_reader(self._listener)
        await _some_rounds()
        await self._runner.cleanup()
        # Closed transports let go of their sockets one round later.
        await _some_rounds()


def _make_request(*args: Any) -> web.BaseRequest:
    message, payload, protocol, writer, task = args
    loop = asyncio.get_running_loop()
    return web.BaseRequest(
        message, payload, protocol, writer, task, loop, client_max_size=_MAX_BODY
    )


async def _some_rounds() -> None:
    for _ in range(3):
        await asyncio.sleep(0)
