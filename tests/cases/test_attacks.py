"""What a look with the eyes of an attacker has found: each of these was so once."""

from __future__ import annotations

import asyncio
import gc
import traceback

import aiohttp
import pytest

from camb_async import (
    APIConnectionError,
    CambError,
    CambSession,
    ConfigurationError,
    DeadlineExceededError,
    RetryPolicy,
)
from camb_async._refusals import Reply
from camb_async.simulator import Fault
from tests.cli_process import CANARY
from tests.downloading import ONE_TRY
from tests.helpers import FREE, run, served
from tests.raw_server import answer, raw_server


DESCRIPTION = "A calm and friendly voice that speaks slowly and clearly, " * 3

KEY = CANARY.encode()
ECHOES = {
    "status line": b"HTP/1.1 200 %b\r\n\r\n" % KEY,
    "header name": b"HTTP/1.1 200 OK\r\nx-api key: %b\r\n\r\n" % KEY,
    "header value": b"HTTP/1.1 200 OK\r\nx-api-key: %b\0\r\n\r\n" % KEY,
    "long header": b"HTTP/1.1 200 OK\r\nx-api-key: %b\r\n\r\n" % (KEY * 1000),
    "length": b"HTTP/1.1 200 OK\r\nContent-Length: %b\r\n\r\n" % KEY,
    "chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nz%b\r\n" % KEY,
    "too large": answer(KEY + b"x" * 2_000_000, length=-1),
    "cut by the excerpt": answer(b"x" * 195 + KEY + b"x" * 2_000_000, length=-1),
}


@pytest.mark.parametrize("echo", ECHOES)
def test_case_41_a_key_that_the_server_sends_back_outside_of_a_body_is_not_shown(
    echo: str,
) -> None:
    """What is quoted of an answer that is no HTTP, or too large, may be the key."""

    async def serve(_target: str, writer: asyncio.StreamWriter) -> None:
        writer.write(ECHOES[echo])

    async def main() -> CambError:
        async with (
            raw_server(serve) as server,
            CambSession(CANARY, base_url=server.origin, retry=ONE_TRY) as camb,
        ):
            with pytest.raises(CambError) as caught:
                await camb.poll("t")
            return caught.value

    error = run(main())

    assert CANARY[:5] not in f"{error} {error!r} {vars(error)}"


def test_case_41_an_error_of_the_constructor_can_be_shown_with_its_variables() -> None:
    """Showing variables takes the repr of a session that is not made yet."""
    with pytest.raises(ConfigurationError) as caught:
        CambSession("a b")

    assert traceback.TracebackException.from_exception(
        caught.value, capture_locals=True
    )


def test_case_47_a_proxy_never_sees_the_key_over_plain_http(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A borrowed session with ``trust_env``, and a simulator on loopback."""

    async def serve(_target: str, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(b'{"status": "PENDING"}'))

    async def main() -> None:
        async with raw_server(serve) as proxy:
            monkeypatch.setenv("http_proxy", proxy.origin)
            for name in ("no_proxy", "NO_PROXY"):
                monkeypatch.delenv(name, raising=False)
            async with aiohttp.ClientSession(trust_env=True) as borrowed:
                with pytest.raises(CambError):
                    async with CambSession(
                        CANARY,
                        base_url="http://127.0.0.1:9",
                        client_session=borrowed,
                        retry=ONE_TRY,
                    ) as camb:
                        await camb.poll("t")
            assert CANARY not in "".join(proxy.heads)

    run(main())


def test_case_47_a_proxy_that_opens_no_tunnel_has_passed_nothing_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A create call that it refused was not sent, so no task can exist."""

    async def serve(_target: str, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(b"", status="407 Proxy Authentication Required"))

    async def main() -> None:
        async with raw_server(serve) as proxy:
            monkeypatch.setenv("https_proxy", proxy.origin)
            async with (
                aiohttp.ClientSession(trust_env=True) as borrowed,
                CambSession(
                    CANARY, base_url="https://camb.invalid", client_session=borrowed
                ) as camb,
            ):
                with pytest.raises(APIConnectionError, match="407") as caught:
                    await camb.create_text_to_voice(
                        text="a", voice_description=DESCRIPTION
                    )
                assert not caught.value.request_sent

    run(main())


def test_case_11_a_status_in_a_message_is_printable() -> None:
    """A text of somebody else's clears no terminal and forges no line of a log."""

    async def main() -> None:
        async with served() as (simulator, camb):
            odd = Fault("unknown_status", status="A\x1b[2J\nB")
            task = simulator.add_task(answers=[odd])
            with pytest.raises(DeadlineExceededError) as caught:
                await camb.wait(task, deadline=0)
            assert str(caught.value).isprintable()

    run(main())


def test_case_33_watches_that_fail_hold_on_to_no_answer() -> None:
    """In an outage each task has its error, and no error may hold a whole page."""

    async def main() -> None:
        patient = RetryPolicy(backoff_initial=1000, backoff_max=1000)
        async with served(retry=patient, limits=FREE) as (simulator, camb):
            page = Fault("http", status=502, body=b"<html>" + b"x" * 100_000)
            simulator.fail(page, times=None)
            tasks = [simulator.add_task() for _ in range(20)]
            async with camb.watch(tasks) as watcher:
                async with asyncio.timeout(5):
                    while watcher.stats().failed_polls < 20:  # noqa: ASYNC110
                        await asyncio.sleep(0.01)
                gc.collect()
                kept = sum(isinstance(each, Reply) for each in gc.get_objects())
                assert 0 == kept

    run(main())
