"""What people meet: the shell, proxies, and a service that moves on: 46, 47, 49.

Case 48, the web application, is among the tests of the examples.
"""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import signal
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import aiohttp
import attrs
import pytest

from camb_async import (
    APIConnectionError,
    CambSession,
    FixedInterval,
    TaskKind,
    TaskRef,
    TaskStatus,
)
from camb_async.simulator import Fault, Scenario, Simulator
from tests import cli_process
from tests.cli_process import CANARY, Ended, environment, finish, started
from tests.downloading import ONE_TRY, RUN, finished, names
from tests.helpers import run, served
from tests.raw_server import answer, raw_server, stranger
from tests.tls import certified, trusting


DESCRIPTION = "A calm and friendly voice that speaks slowly and clearly, " * 3
SOON = FixedInterval(0.02)
PENDING = answer(b'{"status": "PENDING"}')


@pytest.mark.parametrize(
    ("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)]
)
def test_case_46_watch_ends_politely_on_a_signal(signum: int, code: int) -> None:
    """What was read is written, and stderr has the command that goes on."""

    async def main() -> Ended:
        async with Simulator() as simulator:
            done = simulator.add_task("done", after=0.0)
            ids = [simulator.add_task(f"t{n}", status="PENDING") for n in range(8)]
            env = environment(simulator)
            async with started("watch", done, "dub:x", *ids, env=env) as process:
                assert process.stdout is not None
                seen = [(await process.stdout.readline()).decode() for _ in range(9)]
                process.send_signal(signum)
                ended = await finish(process)
        return Ended(ended.code, "".join(seen) + ended.out, ended.err)

    ended = asyncio.run(main())

    assert code == ended.code
    assert 9 == len(ended.lines())
    assert "interrupted; 9 of 10 tasks are unfinished" in ended.err
    assert "camb-async watch dub:x t0 t1 t2 t3 ... (and 4 more)" in ended.err


async def _interrupted(simulator: Simulator, *args: str, polls: int) -> list[str]:
    """Press Ctrl-C after some polls; return the command that is said to go on."""
    async with started(*args, env=environment(simulator)) as process:
        async with asyncio.timeout(20):
            while sum(r.method == "GET" for r in simulator.requests) < polls:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        process.send_signal(signal.SIGINT)
        ended = await finish(process)
    resume = ended.err.splitlines()[-1].partition("To resume: ")[2]
    assert 130 == ended.code
    assert resume.startswith("camb-async ")

    return shlex.split(resume)[1:]


@pytest.mark.slow
def test_case_46_the_command_that_goes_on_can_be_run_as_it_stands(
    tmp_path: Path,
) -> None:
    """A voice that was billed is fetched, and a list of tasks is watched on."""
    out = str(tmp_path / "my voices")

    async def main() -> None:
        async with Simulator(Scenario(median=1000.0)) as simulator:
            wish = ("voice", DESCRIPTION, "--text", "Hello.", "--out", out)
            voice = await _interrupted(simulator, *wish, polls=1)
            simulator.add_task(voice[2], run_id=RUN, after=0)
            fetched = await cli_process.run(*voice, simulator=simulator)
            assert 1 == sum(r.method == "POST" for r in simulator.requests)
            assert (0, 2) == (fetched.code, len(fetched.lines()))
            simulator.requests.clear()
            ids = [simulator.add_task(f"t{n}", status="PENDING") for n in range(2)]
            watch = await _interrupted(simulator, "watch", *ids, polls=2)
            for task in ids:
                simulator.add_task(task, after=0)
            assert 0 == (await cli_process.run(*watch, simulator=simulator)).code

    run(main())

    assert ["7-1.wav", "7-2.wav"] == names(tmp_path / "my voices")


def _use_proxy(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    """Set each variable that is known to lead to a proxy, and none that excepts."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        for spelling in (name, name.upper()):
            monkeypatch.setenv(spelling, f"http://127.0.0.1:{port}")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)


def test_case_47_the_environment_leads_to_no_proxy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Neither requests to the API, with TLS or without, nor those for previews."""
    monkeypatch.setattr("aiohttp.connector._SSL_CONTEXT_VERIFIED", trusting())

    async def serve(_target: str, writer: asyncio.StreamWriter) -> None:
        writer.write(PENDING)

    async def main() -> None:
        async with (
            stranger() as proxy,
            raw_server(serve, certified("127.0.0.1")) as server,
        ):
            _use_proxy(monkeypatch, proxy.port)
            async with CambSession(CANARY, base_url=server.origin) as camb:
                assert TaskStatus.PENDING is (await camb.poll("t")).status
            async with finished() as (_, camb):
                await camb.download_previews(RUN, tmp_path)
            assert [] == proxy.met

    run(main())


@attrs.frozen
class Proxy:
    """A proxy of the kind that companies have: ``heard`` is all that it was sent."""

    port: int
    heard: list[bytes] = attrs.field(factory=list[bytes])


@contextlib.asynccontextmanager
async def tunnelling() -> AsyncGenerator[Proxy]:
    """Run a proxy that opens tunnels, and nothing else."""
    ends: list[asyncio.StreamWriter] = []

    async def pass_on(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                proxy.heard.append(data)
                writer.write(data)
        writer.close()

    async def tunnel(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        proxy.heard.append(head)
        host, _, port = head.decode().split(" ")[1].partition(":")
        there = await asyncio.open_connection(host, int(port))
        ends.extend((writer, there[1]))
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await asyncio.gather(pass_on(reader, there[1]), pass_on(there[0], writer))

    listening = await asyncio.start_server(tunnel, "127.0.0.1", 0)
    proxy = Proxy(listening.sockets[0].getsockname()[1])
    async with listening:
        yield proxy
        for end in ends:
            end.close()
        await _alone()


async def _alone() -> None:
    """Wait until the servers of a test have done with their connections."""
    async with asyncio.timeout(5):
        while len(asyncio.all_tasks()) > 1:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.005)


def test_case_47_a_borrowed_session_may_use_a_proxy_that_sees_no_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With ``trust_env``, and an authority of the company's own."""

    async def serve(_target: str, writer: asyncio.StreamWriter) -> None:
        writer.write(PENDING)

    async def main() -> None:
        async with (
            tunnelling() as proxy,
            raw_server(serve, certified("127.0.0.1")) as server,
        ):
            _use_proxy(monkeypatch, proxy.port)
            connector = aiohttp.TCPConnector(ssl=trusting())
            async with (
                aiohttp.ClientSession(connector=connector, trust_env=True) as borrowed,
                CambSession(
                    CANARY, base_url=server.origin, client_session=borrowed
                ) as camb,
            ):
                assert TaskStatus.PENDING is (await camb.poll("t")).status
            there = server.origin.removeprefix("https://").encode()
            assert proxy.heard[0].startswith(b"CONNECT " + there)
            assert f"x-api-key: {CANARY}" in server.heads[0]
            assert CANARY.encode() not in b"".join(proxy.heard)

    run(main())


def test_case_47_an_authority_that_nobody_trusts_gets_no_key() -> None:
    """The certificate is named, and nothing was sent."""

    async def serve(_target: str, writer: asyncio.StreamWriter) -> None:
        writer.write(PENDING)

    async def main() -> None:
        async with (
            raw_server(serve, certified("127.0.0.1")) as server,
            CambSession(CANARY, base_url=server.origin, retry=ONE_TRY) as camb,
        ):
            with pytest.raises(APIConnectionError, match="certificate") as caught:
                await camb.create_text_to_voice(text="a", voice_description=DESCRIPTION)
            assert not caught.value.request_sent
            assert [] == server.heads
            await _alone()

    run(main())


@pytest.mark.parametrize("kind", TaskKind)
def test_case_49_unknown_fields_are_no_error(kind: TaskKind) -> None:
    """In any answer: what is known is read as ever."""

    async def main() -> None:
        async with served() as (simulator, camb):
            simulator.fail("extra_fields", times=None)
            made = await camb.create_text_to_voice(
                text="Hello.", voice_description=DESCRIPTION
            )
            assert TaskStatus.PENDING is (await camb.get_task_status(made)).status
            task = TaskRef(simulator.add_task(kind=kind, run_id=RUN, after=0), kind)
            assert RUN == (await camb.wait(task)).run_id
            simulator.add_task(run_id=RUN, after=0)
            assert 2 == len((await camb.get_text_to_voice_result(RUN)).previews)

    run(main())


def test_case_49_a_status_that_is_new_is_told_and_ends_nothing() -> None:
    """Its text is kept, and the watch goes on to the end."""
    texts = ["QUEUED", "pending", "In Review (β)", "SUCCEEDED", "success"]

    async def main() -> list[tuple[str, bool]]:
        async with served() as (simulator, camb):
            task = simulator.add_task(answers=texts, run_id=RUN)
            async with camb.watch([task], schedule=SOON) as watcher:
                return [
                    ("" if t.state is None else t.state.raw_status, t.is_final)
                    async for t in watcher
                ]

    assert [(text, text == "success") for text in texts] == run(main())


@pytest.mark.parametrize(
    ("body", "run_id", "reason"),
    [
        ({"status": "SUCCESS"}, None, None),
        ({"status": "SUCCESS", "run_id": None, "message": None}, None, None),
        ({"status": "SUCCESS", "run_id": "7", "exception_reason": "NONE"}, 7, None),
        ({"status": "SUCCESS", "run_id": 7, "message": ["a", {"b": 1}]}, 7, None),
        ({"status": "SUCCESS", "exception_reason": {"code": 1}}, None, "{'code': 1}"),
        ("SUCCESS", None, None),
    ],
    ids=str,
)
def test_case_49_no_field_but_the_status_is_needed(
    body: Any, run_id: int | None, reason: str | None
) -> None:
    """What is optional may be missing, null, or of another shape."""

    async def main() -> None:
        async with served() as (simulator, camb):
            task = simulator.add_task(answers=[Fault("http", status=200, body=body)])
            if isinstance(body, str):
                task = simulator.add_task(answers=[body])
                simulator.fail("bare_string", times=None)
            state = await camb.wait(task, schedule=SOON)
            assert (run_id, reason) == (state.run_id, state.exception_reason)

    run(main())
