"""Faults of the connection: bytes that are late, cut off, or not HTTP.

Those that let no task be created never ask for the true answer.
"""

from __future__ import annotations

import asyncio
import socket
import struct

from .answers import Answer, Call, WireAnswer


# Long enough for what was written to be read before the connection is reset.
_READ_TIME = 0.05
_BACKLOG = 1024 * 1024


def _reset(transport: asyncio.Transport) -> None:
    """Close at once with RST: a linger of zero seconds has the kernel send it."""
    sock: socket.socket | None = transport.get_extra_info("socket")
    if sock is not None:
        linger = struct.pack("ii", 1, 0)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    transport.abort()


def _cut(answer: Answer, keep: float) -> bytes:
    """Return that share of the body, and never all of it."""
    body = answer.body or b"{}"
    return body[: min(int(len(body) * keep), len(body) - 1)]


def _written(data: bytes) -> WireAnswer:
    async def send(transport: asyncio.Transport) -> None:
        transport.write(data)

    return WireAnswer(send)


def _endless(start: bytes, more: bytes) -> WireAnswer:
    async def send(transport: asyncio.Transport) -> None:
        transport.write(start)
        while not transport.is_closing():
            # What the client does not read must not pile up here.
            if transport.get_write_buffer_size() < _BACKLOG:
                transport.write(more)
            await asyncio.sleep(0.001)

    return WireAnswer(send)


def refuse() -> WireAnswer:
    """Close the connection without an answer."""
    return _written(b"")


def reset(_call: Call) -> WireAnswer:
    """The connection is reset before any answer, and nothing was done."""

    async def send(transport: asyncio.Transport) -> None:
        _reset(transport)

    return WireAnswer(send)


def post_lost(call: Call) -> WireAnswer:
    """The request is carried out, and the connection reset before the answer."""
    call.truth()
    return reset(call)


def disconnect(_call: Call) -> WireAnswer:
    """The connection is closed in good order, without an answer."""
    return refuse()


def reset_mid_body(call: Call, *, keep: float = 0.5) -> WireAnswer:
    """The connection is reset after half of the body."""
    answer = call.truth()

    async def send(transport: asyncio.Transport) -> None:
        head = answer.head(("Content-Length", str(len(answer.body or b"{}"))))
        transport.write(head + _cut(answer, keep))
        await asyncio.sleep(_READ_TIME)
        _reset(transport)

    return WireAnswer(send)


def truncate_content_length(call: Call, *, keep: float = 0.5) -> WireAnswer:
    """Half of the body that Content-Length promises, then the end."""
    answer = call.truth()
    head = answer.head(("Content-Length", str(len(answer.body or b"{}"))))
    return _written(head + _cut(answer, keep))


def truncate_chunked(call: Call, *, keep: float = 0.5) -> WireAnswer:
    """Half of the body as one chunk, then the end without the last chunk."""
    answer = call.truth()
    part = _cut(answer, keep)
    chunk = b"%x\r\n%b\r\n" % (len(part), part) if part else b""
    return _written(answer.head(("Transfer-Encoding", "chunked")) + chunk)


def truncate_close(call: Call, *, keep: float = 0.5) -> WireAnswer:
    """Half of a body that only ends with the connection: the cut is silent."""
    answer = call.truth()
    return _written(answer.head(("Connection", "close")) + _cut(answer, keep))


def garbage(_call: Call) -> WireAnswer:
    """Bytes that are no HTTP at all."""
    return _written(b"SSH-2.0-OpenSSH_9.6\r\n\x00\x16\x03\x01 this is not HTTP\r\n\r\n")


def many_headers(call: Call, *, count: int = 1000) -> WireAnswer:
    """The true answer below a thousand headers."""
    answer = call.truth()
    filler = ((f"X-Filler-{number}", "x" * 20) for number in range(count))
    return _written(answer.with_headers(*filler).raw())


def endless_headers(_call: Call) -> WireAnswer:
    """Headers that never end."""
    return _endless(b"HTTP/1.1 200 OK\r\n", b"X-Filler: xxxxxxxxxxxxxxxx\r\n" * 100)


def endless_body(_call: Call) -> WireAnswer:
    """JSON that never ends, in chunks."""
    head = Answer(200).head(("Transfer-Encoding", "chunked"))
    return _endless(head + b"1\r\n[\r\n", b"400\r\n%b\r\n" % (b"[]," * 341 + b" "))


def many_continues(call: Call, *, count: int = 50_000) -> WireAnswer:
    """The true answer after 50,000 times 100 Continue."""
    return _written(b"HTTP/1.1 100 Continue\r\n\r\n" * count + call.truth().raw())


def endless_continues(_call: Call) -> WireAnswer:
    """100 Continue for ever, and never an answer."""
    return _endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100)


def hang(_call: Call) -> WireAnswer:
    """No answer, ever; the connection stays open."""

    async def send(_transport: asyncio.Transport) -> None:
        await asyncio.Event().wait()

    return WireAnswer(send)


def drip(call: Call, *, seconds: float = 0.1) -> WireAnswer:
    """The true answer, its body at one byte per 0.1 simulated seconds."""
    answer = call.truth()

    async def send(transport: asyncio.Transport) -> None:
        transport.write(answer.head(("Content-Length", str(len(answer.body)))))
        for byte in answer.body:
            transport.write(bytes((byte,)))
            await call.pause(seconds)

    return WireAnswer(send)


def idle_close(call: Call, *, seconds: float = 0.0) -> WireAnswer:
    """The true answer, then the kept-alive connection is closed without a word."""
    answer = call.truth()

    async def send(transport: asyncio.Transport) -> None:
        transport.write(answer.raw())
        await call.pause(seconds)

    return WireAnswer(send)


def stale(call: Call) -> Answer:
    """The true answer; the next request on the same connection gets none."""
    call.condemn()
    return call.truth()
