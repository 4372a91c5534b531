"""A server whose every byte is decided by a test."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable

import attrs


Handler = Callable[[str, asyncio.StreamWriter], Awaitable[None]]


@attrs.define
class RawServer:
    """What a raw server was sent; ``origin`` is its URL without a path."""

    origin: str = ""
    heads: list[str] = attrs.field(factory=list[str])

    @property
    def targets(self) -> list[str]:
        """The request targets, byte for byte as they came."""
        return [head.split(" ")[1] for head in self.heads]


@contextlib.asynccontextmanager
async def raw_server(
    handler: Handler, tls: ssl.SSLContext | None = None
) -> AsyncGenerator[RawServer]:
    """Have ``handler(target, writer)`` write the answer on each connection.

    The connection is closed when the handler returns.
    """
    server = RawServer()
    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        try:
            server.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
            await handler(server.targets[-1], writer)
            await writer.drain()
        except asyncio.CancelledError:
            writer.transport.abort()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        serving.discard(task)

    listening = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    scheme = "http" if tls is None else "https"
    port = listening.sockets[0].getsockname()[1]
    server.origin = f"{scheme}://127.0.0.1:{port}"
    try:
        yield server
    finally:
        listening.close()
        for task in serving:
            task.cancel()
        if serving:
            await asyncio.wait(serving)
        await listening.wait_closed()


def answer(
    body: bytes, *headers: str, status: str = "200 OK", length: int | None = None
) -> bytes:
    """Return a whole answer; a ``length`` of -1 leaves Content-Length out."""
    length = len(body) if length is None else length
    framing = () if length < 0 else (f"Content-Length: {length}",)
    lines = [f"HTTP/1.1 {status}", "Connection: close", *framing, *headers, "", ""]
    return "\r\n".join(lines).encode() + body


@attrs.frozen
class Stranger:
    """A server that nobody should ask: ``met`` holds how each connection began."""

    port: int
    met: list[bytes] = attrs.field(factory=list[bytes])


@contextlib.asynccontextmanager
async def stranger() -> AsyncGenerator[Stranger]:
    """Listen on a port, and take note of whoever comes, whatever is spoken."""
    begun: list[asyncio.StreamWriter] = []

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        begun.append(writer)
        number = len(listener.met)
        listener.met.append(b"")
        with contextlib.suppress(ConnectionError):
            listener.met[number] = await reader.read(65536)
        writer.close()

    listening = await asyncio.start_server(meet, "127.0.0.1", 0)
    listener = Stranger(listening.sockets[0].getsockname()[1])
    async with listening:
        yield listener
    for writer in begun:
        writer.close()
