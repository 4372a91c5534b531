"""The page's server as a process, and a browser's worth of HTTP to ask it with."""

from __future__ import annotations

import contextlib
import functools
import http.client
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator, Generator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Self

import anyio
import attrs
import pytest
from anyio.abc import ByteStream, SocketAttribute
from anyio.from_thread import BlockingPortal, start_blocking_portal

from camb_async.simulator import Request, Scenario, Simulator


ROOT = Path(__file__).parents[2]
CHROMIUM = Path("/usr/bin/chromium")
#: Seconds; what takes longer is broken.
PATIENCE = 20.0
HUNG_UP = (anyio.BrokenResourceError, anyio.ClosedResourceError)


def need(found: object, what: str) -> None:
    """Skip a module for want of something; under CI nothing may be wanting."""
    if found:
        return
    message = f"{what} is not installed"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message, allow_module_level=True)


def need_web() -> None:
    """Skip without what the application is made of."""
    for module in ("starlette", "uvicorn", "sse_starlette"):
        need(importlib.util.find_spec(module), module)


@attrs.frozen
class Service:
    """A simulator in a thread of its own. Tasks last until they are ended."""

    simulator: Simulator
    _portal: BlockingPortal

    @classmethod
    @contextmanager
    def running(cls) -> Generator[Self]:
        """Run one."""
        scenario = Scenario(median=3600.0)
        with (
            start_blocking_portal() as portal,
            portal.wrap_async_context_manager(Simulator(scenario)) as simulator,
        ):
            yield cls(simulator, portal)

    def end(self, card: Mapping[str, Any], status: str, **outcome: Any) -> None:
        """Have the task of a card end so at once."""
        add = functools.partial(
            self.simulator.add_task, card["task_id"], status=status, after=0, **outcome
        )
        self._portal.call(add)

    def fail(self, fault: Any, path: str) -> None:
        """Have the next request for a path fail."""
        self._portal.call(functools.partial(self.simulator.fail, fault, path=path))

    def expire_links(self) -> None:
        """Refuse all links given out so far."""
        self._portal.call(self.simulator.expire_links)

    def requests(self, path: str) -> list[Request]:
        """Return the requests for what is under a path."""

        def find() -> list[Request]:
            return [
                request for request in self.simulator.requests if path in request.path
            ]

        return self._portal.call(find)


@attrs.define
class Server:
    """The application, started as a user starts it."""

    process: subprocess.Popen[str]
    port: int
    greeting: str

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://127.0.0.1:{self.port}/"

    def stop(self, by: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        """Stop it; return its exit code and what it had to complain about."""
        self.process.send_signal(by)
        _, complaints = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, complaints


def start(
    service: Service | None,
    store: str | Path = "",
    *,
    port: int = 0,
    heartbeat: float = 10.0,
    lease: float = 10.0,
    key: str = "",
) -> Server:
    """Start the application and wait until it listens."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("CAMB_API_KEY", "CAMB_BASE_URL")
    }
    environment |= {"PYTHONPATH": str(ROOT), "STORE": str(store)}
    if service is not None:
        environment["CAMB_BASE_URL"] = service.simulator.base_url
        environment["CAMB_API_KEY"] = key or service.simulator.api_key
    options = ["--port", port, "--heartbeat", heartbeat, "--lease", lease]
    process = subprocess.Popen(  # noqa: S603 - our own command line
        [sys.executable, "-X", "dev", "-m", "examples.web_app", *map(str, options)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    greeting = ""
    assert process.stdout is not None
    while "Ctrl-C" not in greeting:
        line = process.stdout.readline()
        if not line:
            _, complaints = process.communicate(timeout=PATIENCE)
            pytest.fail(f"The application did not start: {complaints}")
        greeting += line
    url = greeting.partition("\n")[0]
    return Server(process, int(url.rpartition(":")[2]), greeting)


@contextmanager
def running(
    service: Service | None, store: str | Path = "", **options: Any
) -> Generator[Server]:
    """Run the application; afterwards it must stop without a complaint.

    Without a place of its own it keeps what it is to remember until then only.
    """
    with tempfile.TemporaryDirectory() as directory:
        server = start(service, store or f"{directory}/web_app.db", **options)
        yield from _until_it_stops(server)


def _until_it_stops(server: Server) -> Generator[Server]:
    try:
        yield server
    except BaseException:
        server.process.kill()
        server.process.communicate()
        raise
    if server.process.returncode is None:
        code, complaints = server.stop()

        assert (-signal.SIGTERM, "") == (code, _unexpected(complaints))


def _unexpected(complaints: str) -> str:
    """Return what was complained about, apart from what says nothing of the code.

    That is warnings which tests provoke, and asyncio's note, in development mode,
    that a busy machine took long for one step.
    """
    lines = complaints.splitlines()
    return "\n".join(
        line for line in lines if not line.startswith(("WARNING: ", "Executing <"))
    )


class Front:
    """One port before several servers, as a proxy has it: the first that lives."""

    def __init__(self, servers: Sequence[Server]) -> None:
        self._servers = servers
        self.port = 0

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://127.0.0.1:{self.port}/"

    @classmethod
    @contextmanager
    def running(cls, *servers: Server) -> Generator[Self]:
        """Run one."""
        front = cls(servers)
        with (
            start_blocking_portal() as portal,
            portal.wrap_async_context_manager(front._listening()),
        ):
            yield front

    @asynccontextmanager
    async def _listening(self) -> AsyncGenerator[None]:
        listeners = await anyio.create_tcp_listener(local_host="127.0.0.1")
        port = listeners.extra_attributes[SocketAttribute.local_port]
        self.port = port()
        async with listeners, anyio.create_task_group() as group:
            group.start_soon(listeners.serve, self._pass_on)
            yield
            group.cancel_scope.cancel()

    async def _pass_on(self, browser: ByteStream) -> None:
        server = await self._connect()
        async with browser, server, anyio.create_task_group() as group:

            async def copy(source: ByteStream, target: ByteStream) -> None:
                with contextlib.suppress(*HUNG_UP):
                    async for chunk in source:
                        await target.send(chunk)
                # Whatever ends one direction ends the connection.
                group.cancel_scope.cancel()

            group.start_soon(copy, browser, server)
            group.start_soon(copy, server, browser)

    async def _connect(self) -> ByteStream:
        for server in self._servers[:-1]:
            with contextlib.suppress(OSError):
                return await anyio.connect_tcp("127.0.0.1", server.port)
        return await anyio.connect_tcp("127.0.0.1", self._servers[-1].port)


@attrs.frozen
class Reply:
    """An answer, read whole."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """What it holds."""
        return json.loads(self.body)


@attrs.frozen
class Event:
    """One server-sent event."""

    name: str
    data: Any
    last_id: str


@attrs.define
class Visitor:
    """Somebody's browser, without the looks."""

    port: int
    cookie: str = ""

    @classmethod
    def of(cls, server: Server) -> Self:
        """Open the page, so that there is a cookie."""
        visitor = cls(server.port)
        visitor.cookie = visitor.get("/").headers["set-cookie"].partition(";")[0]
        return visitor

    def get(self, path: str, **headers: str) -> Reply:
        """Make a GET request."""
        return self._ask("GET", path, None, headers)

    def post(self, path: str, fields: object = None, **headers: str) -> Reply:
        """Post JSON as the page does."""
        headers = {"sec_fetch_site": "same-origin"} | headers
        headers = {"content_type": "application/json"} | headers
        return self._ask("POST", path, json.dumps(fields).encode(), headers)

    def order(self, description: str = "A calm voice", text: str = "Hello") -> Any:
        """Order a voice and return its card."""
        reply = self.post("/voices", {"description": description, "text": text})

        assert 201 == reply.status, reply

        return reply.json

    @contextmanager
    def events(self, query: str = "", **headers: str) -> Generator[Iterator[Event]]:
        """Open a stream of voices: nothing else that it says is handed on."""
        connection = self._connect("GET", f"/events{query}", None, headers)
        try:
            response = connection.getresponse()

            assert 200 == response.status, response.read()
            assert "text/event-stream" in response.headers["content-type"]

            yield (
                event
                for event in _parse(response)
                if event.name in ("snapshot", "voice")
            )
        finally:
            connection.close()

    @contextmanager
    def everything(self) -> Generator[Iterator[Event]]:
        """Open a stream with nothing left out."""
        connection = self._connect("GET", "/events", None, {})
        try:
            yield _parse(connection.getresponse())
        finally:
            connection.close()

    def _ask(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> Reply:
        connection = self._connect(method, path, body, headers)
        try:
            response = connection.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            return Reply(response.status, found, response.read())
        finally:
            connection.close()

    def _connect(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> http.client.HTTPConnection:
        sent = {n.replace("_", "-"): value for n, value in headers.items() if value}
        if self.cookie:
            sent["Cookie"] = self.cookie
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.port, timeout=PATIENCE
        )
        connection.request(method, path, body, sent)
        return connection


def _parse(response: http.client.HTTPResponse) -> Iterator[Event]:
    """Read events as the standard says, as far as they are used here."""
    name, data, last_id = "message", "", ""
    while line := response.readline().decode():
        field, _, value = line.rstrip("\r\n").partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            data = value
        elif field == "id":
            last_id = value
        elif not field:
            yield Event(name, json.loads(data or "null"), last_id)
            name, data = "message", ""
    # The server ended the stream in good order.
