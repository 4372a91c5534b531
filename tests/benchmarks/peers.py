"""What asks for the status of a task, from bytes on a socket to the official client.

Each is used as its documentation shows, with a pool as large as it is asked for.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import re
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from importlib.metadata import version

import aiohttp
import attrs
import httpx
from camb.client import AsyncCambAI, CambAI
from yarl import URL

from camb_async import CambSession, Limits


KEY = "benchmark-key"
#: Many, as in real use: URLs that were seen just now are cheap for some.
IDS = [f"0f6d2c1e-7b1a-4f0e-9c55-{number:012d}" for number in range(2_000)]
#: Each poller polls so often at least, so that no connection is new to most polls.
LEAST = 5

Poll = Callable[[str], Awaitable[object]]
#: Polls with so many at once, for so many seconds, and returns how often.
Drive = Callable[[int, float], Awaitable[int]]


@attrs.frozen
class Peer:
    """A client that can be opened for a base URL."""

    name: str
    open: Callable[[str], AbstractAsyncContextManager[Drive]]


def _together(poll: Poll) -> Drive:
    ids = itertools.cycle(IDS)

    async def drive(concurrency: int, seconds: float) -> int:
        until = time.perf_counter() + seconds

        async def poller() -> int:
            polls = 0
            while polls < LEAST or time.perf_counter() < until:
                await poll(next(ids))
                polls += 1
            return polls

        return sum(await asyncio.gather(*(poller() for _ in range(concurrency))))

    return drive


class _Connection(asyncio.Protocol):
    """One request after the other."""

    _length = re.compile(rb"content-length: (\d+)")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._data = b""

    async def ask(self, request: bytes) -> object:
        self._body = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return json.loads(await self._body)

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, end, body = self._data.partition(b"\r\n\r\n")
        length = self._length.search(head)
        if end and length and len(body) >= int(length[1]):
            self._data = b""
            self._body.set_result(body)


@contextlib.asynccontextmanager
async def _by_hand(base_url: str) -> AsyncGenerator[Drive]:
    url = URL(base_url)
    address = url.host or "", url.port or 80
    idle, opened = list[_Connection](), list[_Connection]()

    async def poll(task_id: str) -> object:
        if idle:
            connection = idle.pop()
        else:
            loop = asyncio.get_running_loop()
            _, connection = await loop.create_connection(_Connection, *address)
            opened.append(connection)
        state = await connection.ask(
            b"GET %b/text-to-voice/%b HTTP/1.1\r\nhost: %b\r\nx-api-key: %b\r\n\r\n"
            % tuple(map(str.encode, (url.path, task_id, url.authority, KEY)))
        )
        idle.append(connection)
        return state

    yield _together(poll)
    for connection in opened:
        connection.transport.close()


@contextlib.asynccontextmanager
async def _aiohttp(base_url: str) -> AsyncGenerator[Drive]:
    async with aiohttp.ClientSession(
        headers={"x-api-key": KEY}, connector=aiohttp.TCPConnector(limit=0)
    ) as client:

        async def poll(task_id: str) -> object:
            async with client.get(f"{base_url}/text-to-voice/{task_id}") as response:
                return await response.json()

        yield _together(poll)


@contextlib.asynccontextmanager
async def _aiohttp_tuned(base_url: str) -> AsyncGenerator[Drive]:
    urls = {task_id: URL(f"{base_url}/text-to-voice/{task_id}") for task_id in IDS}
    async with aiohttp.ClientSession(
        headers={"x-api-key": KEY},
        connector=aiohttp.TCPConnector(limit=0),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None),
    ) as client:

        async def poll(task_id: str) -> object:
            async with client.get(urls[task_id], allow_redirects=False) as response:
                return json.loads(await response.read())

        yield _together(poll)


@contextlib.asynccontextmanager
async def _httpx(base_url: str) -> AsyncGenerator[Drive]:
    no_limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(
        headers={"x-api-key": KEY}, limits=no_limits, timeout=30.0
    ) as client:

        async def poll(task_id: str) -> object:
            response = await client.get(f"{base_url}/text-to-voice/{task_id}")
            return response.json()

        yield _together(poll)


@contextlib.asynccontextmanager
async def _official(base_url: str) -> AsyncGenerator[Drive]:
    client = AsyncCambAI(api_key=KEY, base_url=base_url)
    yield _together(client.text_to_voice.get_text_to_voice_status)
    # It has no way to be closed.
    wrapper = client._client_wrapper  # pyright: ignore[reportPrivateUsage]
    await wrapper.httpx_client.httpx_client.aclose()


@contextlib.asynccontextmanager
async def _official_in_threads(base_url: str) -> AsyncGenerator[Drive]:
    client = CambAI(api_key=KEY, base_url=base_url)
    ids = itertools.cycle(IDS)

    def poller(until: float) -> int:
        polls = 0
        while polls < LEAST or time.perf_counter() < until:
            # With many threads httpx at times closes what another one reads.
            with contextlib.suppress(httpx.TransportError):
                client.text_to_voice.get_text_to_voice_status(next(ids))
                polls += 1
        return polls

    async def drive(concurrency: int, seconds: float) -> int:
        until = time.perf_counter() + seconds
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(concurrency) as threads:
            return sum(
                await asyncio.gather(
                    *(
                        loop.run_in_executor(threads, poller, until)
                        for _ in range(concurrency)
                    )
                )
            )

    yield drive
    wrapper = client._client_wrapper  # pyright: ignore[reportPrivateUsage]
    wrapper.httpx_client.httpx_client.close()


@contextlib.asynccontextmanager
async def _ours(base_url: str) -> AsyncGenerator[Drive]:
    limits = Limits(max_in_flight=1000, max_rate=None)
    async with CambSession(KEY, base_url=base_url, limits=limits) as camb:
        yield _together(camb.poll)


OURS = Peer("camb.poll", _ours)
AIOHTTP = Peer("aiohttp", _aiohttp)
OFFICIAL = Peer(f"camb-sdk {version('camb-sdk')}, async", _official)
PEERS = (
    Peer("a Protocol by hand", _by_hand),
    OURS,
    Peer("aiohttp, tuned", _aiohttp_tuned),
    AIOHTTP,
    Peer("httpx.AsyncClient", _httpx),
    OFFICIAL,
    Peer(f"camb-sdk {version('camb-sdk')}, threads", _official_in_threads),
)
