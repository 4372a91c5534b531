"""Stands between a store and its server, and cuts where a test says."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from urllib.parse import urlsplit


class Proxy:
    """Passes on what a client and the server say, on each connection.

    ``loses`` is asked once for each statement whose answer is complete, that is, when
    it is committed; if it says so, the client is cut off instead of told. The first
    time that a connection makes a statement, asyncpg may first ask for its types.
    """

    def __init__(self, dsn: str) -> None:
        self._server = urlsplit(dsn)
        self.loses: Callable[[], bool] = lambda: False
        self.lost = 0
        self._open: set[asyncio.StreamWriter] = set()
        self.dsn = ""

    def lose_next(self) -> None:
        """Lose the next answer."""
        last = self.lost
        self.loses = lambda: self.lost == last

    def cut(self) -> None:
        """Cut all connections; the server is not told of it by any word."""
        for writer in self._open:
            writer.transport.abort()

    async def meet(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Serve one connection until either side ends it, or it is cut."""
        host, port = self._server.hostname, self._server.port
        ours = {writer}
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            server_reader, server = await asyncio.open_connection(host, port)
            ours.add(server)
            self._open |= ours
            up = asyncio.ensure_future(self._pass_on(reader, server))
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await self._answer(server_reader, writer)
            up.cancel()
            await asyncio.wait([up])
        self._open -= ours
        for each in ours:
            each.transport.abort()

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()

    async def _answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        pending = b""
        while True:
            head = await reader.readexactly(5)
            length = int.from_bytes(head[1:], "big") - 4
            message = head + await reader.readexactly(length)
            pending += message
            # CommandComplete is held back until ReadyForQuery: then it is committed.
            if head[:1] in b"CD":
                continue
            if head[:1] == b"Z" and _is_answer(pending) and self.loses():
                self.lost += 1
                return
            writer.write(pending)
            pending = b""
            await writer.drain()


def _is_answer(pending: bytes) -> bool:
    """Return whether the messages say that a statement is made, if not LISTEN."""
    while pending:
        if pending[:1] == b"C":
            return not pending[5:].startswith(b"LISTEN")
        pending = pending[1 + int.from_bytes(pending[1:5], "big") :]
    return False


@contextlib.asynccontextmanager
async def proxy(dsn: str) -> AsyncGenerator[Proxy]:
    """Run a proxy before a database; its ``dsn`` is the way through it."""
    between = Proxy(dsn)
    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        await between.meet(reader, writer)
        serving.discard(task)

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    where = urlsplit(dsn)._replace(netloc=f"camb:secret@127.0.0.1:{port}")
    between.dsn = f"{where.geturl()}?sslmode=disable"
    try:
        yield between
    finally:
        listening.close()
        between.cut()
        if serving:
            await asyncio.wait(serving)
        await listening.wait_closed()
