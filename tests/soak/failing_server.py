"""A status server that answers badly each eighth time, in a process of its own.

What is answered depends on nothing but how many requests there were before, so
every run meets the same faults as often. More than a tenth of the polls fail: not
each eighth, because aiohttp sends a request once more by itself if a connection
that was kept alive is reset before the answer. One answer in a hundred ends its
task. Requests for ``/broken`` get half an answer, and the connection is closed.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
import struct
from collections.abc import Callable

from tests.benchmarks.status_server import serve


Send = Callable[[asyncio.Transport], None]


def _whole(status: str, body: bytes) -> Send:
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n"
    return lambda transport: transport.write(head.encode() + body)


_HALF = b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"status":'


def _cut(transport: asyncio.Transport) -> None:
    transport.write(_HALF)
    transport.close()


def _reset_halfway(transport: asyncio.Transport) -> None:
    transport.write(_HALF)
    # A reset at once would overtake what was written.
    asyncio.get_running_loop().call_later(0.02, _reset, transport)


def _reset(transport: asyncio.Transport) -> None:
    sock: socket.socket = transport.get_extra_info("socket")
    linger = struct.pack("ii", 1, 0)  # of no seconds: the kernel sends RST
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    transport.abort()


def _hang(_transport: asyncio.Transport) -> None:
    pass


_PENDING = _whole("200 OK", b'{"status":"PENDING","run_id":null}')
_SUCCESS = _whole("200 OK", b'{"status":"SUCCESS","run_id":7}')
_FAULTS = (
    *[_reset, _reset_halfway] * 12,
    *[_cut] * 24,
    *[_whole("500 Internal Server Error", b"<p>no")] * 24,
    *[_whole("200 OK", b'{"status": PENDING')] * 24,
    *[_whole("503 Service Unavailable", b"<p>later")] * 3,
    _hang,
)

_numbers = itertools.count()


def _answer(request: bytes) -> Send:
    if b"/broken" in request:
        return _cut
    number = next(_numbers)
    if number % 8 == 0:
        return _FAULTS[number // 8 % len(_FAULTS)]
    return _SUCCESS if number % 100 == 1 else _PENDING


class _Failing(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._request = b""

    def data_received(self, data: bytes) -> None:
        self._request += data
        if self._request.endswith(b"\r\n\r\n"):
            _answer(self._request)(self._transport)
            self._request = b""


if __name__ == "__main__":
    asyncio.run(serve(_Failing))
