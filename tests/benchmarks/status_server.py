"""A server that answers every GET with PENDING, as cheaply as asyncio allows.

Run in a process of its own, so that its CPU time is not the client's.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Callable, Generator
from pathlib import Path


_BODY = b'{"status":"PENDING","run_id":null}'
_ANSWER = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
    b"content-length: %d\r\n\r\n%b" % (len(_BODY), _BODY)
)


class _Answering(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._rest = b""

    def data_received(self, data: bytes) -> None:
        *requests, self._rest = (self._rest + data).split(b"\r\n\r\n")
        self._transport.write(_ANSWER * len(requests))


async def serve(protocol: Callable[[], asyncio.Protocol]) -> None:
    """Serve on a free port, which is printed, until stdin ends."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(protocol, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201
    await loop.run_in_executor(None, sys.stdin.read)


@contextlib.contextmanager
def status_server(module: str = __name__) -> Generator[str]:
    """Run a module that serves; yields its base URL and stops it at the end."""
    with subprocess.Popen(  # noqa: S603 - a module of the tests
        [sys.executable, "-m", module],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        try:
            yield f"http://127.0.0.1:{port}/apis"
        finally:
            process.communicate()


if __name__ == "__main__":
    asyncio.run(serve(_Answering))
