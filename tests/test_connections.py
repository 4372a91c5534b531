"""Connections are renewed in time, and closed when nobody uses them any more."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from camb_async import CambSession, TaskState
from camb_async import _connections as connections
from camb_async._connections import Connections

from .helpers import run


PENDING = b'{"status": "PENDING"}'

Answer = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@contextlib.asynccontextmanager
async def serving(
    answer: Answer, address: str = "127.0.0.1", port: int = 0
) -> AsyncGenerator[int]:
    """Serve on keep-alive connections; yields the port."""
    server = web.Server(answer)
    listening = await asyncio.get_running_loop().create_server(server, address, port)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()
        await server.shutdown(0.1)
        await listening.wait_closed()


@contextlib.asynccontextmanager
async def pending_at(
    address: str, port: int = 0
) -> AsyncGenerator[tuple[int, list[str]]]:
    """Serve PENDING on keep-alive connections; yields the port and the askers."""
    askers: list[str] = []

    async def answer(request: web.BaseRequest) -> web.Response:
        assert request.transport is not None

        askers.append(str(request.transport.get_extra_info("peername")))
        return web.json_response({"status": "PENDING"})

    async with serving(answer, address, port) as served_at:
        yield served_at, askers


def test_case_06_a_service_that_moves_is_followed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A busy connection to the old address is given up when it is old enough."""
    address = "127.0.0.1"
    look_up = socket.getaddrinfo

    def resolve(host: str, *args: Any, **options: Any) -> Any:
        return look_up(address if host == "localhost" else host, *args, **options)

    async def main() -> None:
        nonlocal address
        async with (
            pending_at("127.0.0.1") as (port, at_old),
            pending_at("127.0.0.2", port) as (_, at_new),
            CambSession("k", base_url=f"http://localhost:{port}") as camb,
        ):
            await camb.poll("a")
            address = "127.0.0.2"
            while not at_new:
                await camb.poll("a")

            assert 1 == len(set(at_old)) == len(at_new)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(connections, "AGE_MAX", 0.3)
    run(main())


def test_an_old_client_session_is_closed_when_its_last_request_has_ended() -> None:
    """Not under the feet of a request, and not later than that."""

    async def main() -> None:
        lending = Connections(None)
        first = lending.take()
        first.ends_at = 0.0
        second = lending.take()
        lending.give_back(second)
        await asyncio.sleep(0)

        assert first is not second
        assert not first.client.closed

        lending.give_back(first)
        await asyncio.sleep(0)

        assert first.client.closed
        assert second is lending.take()

        await lending.close()

        assert lending.closed

    run(main())


def test_closing_closes_what_is_still_in_use_elsewhere() -> None:
    """A client session that was retired does not outlive the session."""

    async def main() -> None:
        lending = Connections(None)
        old = lending.take()
        old.ends_at = 0.0
        idle = lending.take()
        lending.give_back(idle)
        idle.ends_at = 0.0
        newest = lending.take()
        await lending.close()

        assert old.client.closed
        assert idle.client.closed
        assert newest.client.closed
        # Whoever comes too late finds a closed client session, and no new one.
        assert newest is lending.take()

    run(main())


def test_a_borrowed_client_session_is_neither_renewed_nor_closed() -> None:
    """Its connections are its owner's business."""

    async def main() -> None:
        async with aiohttp.ClientSession() as client:
            lending = Connections(client)
            lent = lending.take()
            lending.give_back(lent)
            await lending.close()

            assert client is lent.client
            assert lent is lending.take()
            assert not client.closed

    run(main())


def test_case_01_a_read_that_is_cancelled_as_its_answer_ends_leaves_a_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The next read may find it closed, and does not notice, as after any answer."""
    head_came = asyncio.Event()
    send_once = connections.send_once

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        assert request.transport is not None

        if head_came.is_set():
            if request.transport in answered:
                request.transport.close()
            return web.Response(body=PENDING)
        answered.append(request.transport)
        response = web.StreamResponse()
        response.content_length = len(PENDING)
        await response.prepare(request)
        await head_came.wait()
        await response.write(PENDING)
        return response

    async def cancel_at_the_end(
        request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        response = await send_once(request, send)
        if not head_came.is_set():
            response.content.on_eof(cancel)
            head_came.set()
        return response

    def cancel() -> None:
        calls[0].cancel()

    async def main() -> None:
        async with (
            serving(answer) as port,
            CambSession("k", base_url=f"http://127.0.0.1:{port}") as camb,
        ):
            calls.append(asyncio.create_task(camb.poll("a")))
            await asyncio.wait(calls)

            assert calls[0].cancelled()
            assert "PENDING" == (await camb.poll("a")).raw_status

    answered: list[asyncio.BaseTransport] = []
    calls: list[asyncio.Task[TaskState]] = []
    monkeypatch.setattr(connections, "send_once", cancel_at_the_end)
    run(main())
