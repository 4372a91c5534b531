"""Every fault of the simulator, seen from a bare socket: is it true on the wire?"""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import Awaitable, Callable
from email import message_from_bytes
from email.message import Message
from typing import Any, Literal

import aiohttp
import attrs
import pytest
from yarl import URL

from camb_async.simulator import FAULTS, Fault, Simulator


PENDING = {
    "status": "PENDING",
    "run_id": None,
    "exception_reason": None,
    "message": None,
}

# whole: all that was promised came; eof and reset: how the connection ended
# before that; silence: nothing more came for a while.
End = Literal["whole", "eof", "reset", "silence"]


@attrs.frozen
class Seen:
    """What came back over a socket, and how that ended."""

    data: bytes
    end: End

    @property
    def status(self) -> int | None:
        """The HTTP status, or None if this is not HTTP."""
        version, _, rest = self.data.partition(b" ")
        return int(rest[:3]) if version == b"HTTP/1.1" else None

    @property
    def headers(self) -> Message:
        """The headers; several of one name are had by ``get_all``."""
        return message_from_bytes(self.data.partition(b"\r\n")[2])

    @property
    def body(self) -> bytes:
        """What came after the headers, with the chunks' framing if any."""
        return self.data.partition(b"\r\n\r\n")[2]


def _is_whole(data: bytes | bytearray) -> bool:
    head, end, body = data.partition(b"\r\n\r\n")
    seen = Seen(bytes(head), "whole")
    if not end or seen.status is None:
        return False
    length = seen.headers.get("Content-Length")
    return seen.status == 204 or (length is not None and len(body) >= int(length))


async def read_answer(reader: asyncio.StreamReader, patience: float) -> Seen:
    """Read one answer, or what there is of it after some seconds."""
    data = bytearray()
    end: End = "whole"
    try:
        async with asyncio.timeout(patience):
            while not _is_whole(data):
                more = await reader.read(1 << 20)
                if not more:
                    end = "eof"
                    break
                data += more
    except TimeoutError:
        end = "silence"
    except ConnectionResetError:
        end = "reset"
    return Seen(bytes(data), end)


class Wire:
    """A connection to the simulator on which requests are written by hand."""

    def __init__(
        self,
        simulator: Simulator,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.simulator = simulator
        self._reader = reader
        self._writer = writer

    async def ask(
        self, path: str, method: str = "GET", body: bytes = b"", patience: float = 5.0
    ) -> Seen:
        """Send one request and return what comes back."""
        head = (
            f"{method} /apis{path} HTTP/1.1\r\nHost: x\r\n"
            f"x-api-key: {self.simulator.api_key}\r\n"
            "Content-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        self._writer.write(head.encode() + body)
        return await self.read(patience)

    async def read(self, patience: float = 5.0) -> Seen:
        """Return what comes without being asked for."""
        return await read_answer(self._reader, patience)


def wired(test: Callable[[Wire], Awaitable[None]], speed: float = 1.0) -> None:
    """Run a test on a fresh connection to a fresh simulator."""

    async def main() -> None:
        async with Simulator(speed=speed) as simulator:
            port = URL(simulator.base_url).port
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                await test(Wire(simulator, reader, writer))
            finally:
                writer.transport.abort()

    asyncio.run(main())


async def provoke(
    wire: Wire, fault: Fault | str, patience: float = 5.0, **task: Any
) -> Seen:
    """Ask for the status of a task whose next answer is that fault."""
    task_id = wire.simulator.add_task("t", **task)
    wire.simulator.fail(fault, task_id=task_id)
    name = fault if isinstance(fault, str) else fault.name
    seen = await wire.ask("/text-to-voice/t", patience=patience)

    assert name == wire.simulator.requests[-1].answer

    return seen


# By name: the HTTP status (None: no HTTP), how it ends, and text in the answer.
EXPECTED: dict[str, tuple[int | None, End, bytes]] = {
    "reset": (None, "reset", b""),
    "post_lost": (None, "reset", b""),
    "disconnect": (None, "eof", b""),
    "reset_mid_body": (200, "reset", b'{"status": "PEND'),
    "truncate_content_length": (200, "eof", b'{"status": "PEND'),
    "truncate_chunked": (200, "eof", b'{"status": "PEND'),
    "truncate_close": (200, "eof", b'{"status": "PEND'),
    "garbage": (None, "eof", b"SSH-2.0"),
    "many_headers": (200, "whole", b"X-Filler-999: "),
    "endless_headers": (200, "silence", b"X-Filler: "),
    "endless_body": (200, "silence", b"[],[],"),
    "many_continues": (100, "eof", b'"PENDING"'),
    "endless_continues": (100, "silence", b"Continue\r\n\r\nHTTP/1.1 100"),
    "slow": (None, "silence", b""),
    "hang": (None, "silence", b""),
    "drip": (200, "silence", b"\r\n\r\n{"),
    "idle_close": (200, "whole", b'"PENDING"'),
    "stale": (200, "whole", b'"PENDING"'),
    "http": (500, "whole", b"text/plain"),
    "500": (500, "whole", b'{"detail": "Internal Server Error"}'),
    "500_html": (500, "whole", b"<html>"),
    "502_html": (502, "whole", b"502 Bad Gateway</h1>"),
    "503": (503, "whole", b'{"detail": "Service Unavailable"}'),
    "503_retry_after": (503, "whole", b"Retry-After: 1\r\n"),
    "504_html": (504, "whole", b"504 Gateway Time-out</h1>"),
    "429": (429, "whole", b"Retry-After: 1\r\n"),
    "429_no_header": (429, "whole", b'{"detail": "Too Many Requests"}'),
    "408": (408, "whole", b'{"detail": "Request Timeout"}'),
    "400": (400, "whole", b'{"detail": "Bad Request"}'),
    "401": (401, "whole", b'{"error": "Invalid API key", "status": 401}'),
    "402": (402, "whole", b'{"detail": "Payment Required"}'),
    "403": (403, "whole", b'{"detail": "Forbidden"}'),
    "404": (404, "whole", b'{"detail": "Not found."}'),
    "422": (422, "whole", b'"loc": ["path", "task_id"]'),
    "redirect": (302, "whole", b"Location: http://elsewhere.invalid/apis/text-to-v"),
    "204": (204, "whole", b"No Content"),
    "html_200": (200, "whole", b"<!DOCTYPE html>"),
    "wrong_type": (200, "whole", b"Content-Type: text/plain"),
    "bad_json": (200, "whole", b'"run_id": '),
    "bad_utf8": (200, "whole", b"\xff\xfe"),
    "deep_json": (200, "whole", b"[[[[[[[["),
    "huge_int": (200, "whole", b'"run_id": 99999'),
    "nan": (200, "whole", b'"run_id": NaN'),
    "dup_keys": (200, "whole", b'{"status": "PENDING", "status": "SUCCESS"'),
    "empty_object": (200, "whole", b"\r\n\r\n{}"),
    "huge_body": (200, "whole", b"xxxxxxxx"),
    "gzip_bomb": (200, "whole", b"Content-Encoding: gzip"),
    "not_gzip": (200, "whole", b"Content-Encoding: gzip"),
    "zstd": (200, "whole", b"\r\n\r\n\x28\xb5\x2f\xfd"),
    "set_cookie": (200, "whole", b"Set-Cookie: sim4=1"),
    "evil_filename": (200, "whole", b'filename="../../evil.wav"'),
    "extra_fields": (200, "whole", b'"progress": 0.5'),
    "null_status": (200, "whole", b'{"status": null'),
    "unknown_status": (200, "whole", b'"QUEUED"'),
    "lower_case": (200, "whole", b'"pending"'),
    "bare_string": (200, "whole", b'\r\n\r\n"PENDING"'),
    "success_no_run_id": (200, "whole", b'{"status": "SUCCESS", "run_id": null'),
    "regress": (200, "whole", b'"PENDING"'),
    "no_previews": (200, "whole", b'{"previews": []}'),
    "bad_previews": (200, "whole", b'"file:///etc/passwd"'),
    "null_task_id": (200, "whole", b'{"task_id": null}'),
}


def test_every_fault_is_expected() -> None:
    """No fault is left untried, and each has a line that says what it does."""
    assert EXPECTED.keys() == FAULTS.keys()

    for fault in FAULTS.values():
        assert (fault.__doc__ or "").rstrip().endswith(".")


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_true_on_the_wire(name: str) -> None:
    """By its name alone each fault gives the bytes, and the end, it promises."""

    async def test(wire: Wire) -> None:
        status, end, text = EXPECTED[name]
        seen = await provoke(wire, name, 0.2 if end == "silence" else 5.0)

        assert status == seen.status
        assert text in seen.data
        assert end == seen.end

    wired(test)


@pytest.mark.parametrize(
    "name", ["truncate_content_length", "truncate_close", "reset_mid_body"]
)
@pytest.mark.parametrize("keep", [0.0, 0.5, 1.0])
def test_cut_bodies_are_cut_where_told(name: str, keep: float) -> None:
    """``keep`` is the share of the body that is sent; never all of it."""

    async def test(wire: Wire) -> None:
        seen = await provoke(wire, Fault(name, keep=keep))
        whole = json.dumps(PENDING).encode()

        assert whole[: min(int(len(whole) * keep), len(whole) - 1)] == seen.body
        if name == "truncate_close":
            assert "Content-Length" not in seen.headers
        else:
            assert str(len(whole)) == seen.headers["Content-Length"]

    wired(test)


def test_a_chunked_body_is_cut_between_chunks() -> None:
    """The chunk that comes is well formed; the last chunk never comes."""

    async def test(wire: Wire) -> None:
        seen = await provoke(wire, "truncate_chunked")
        size, _, rest = seen.body.partition(b"\r\n")

        assert "chunked" == seen.headers["Transfer-Encoding"]
        assert int(size, 16) + len(b"\r\n") == len(rest)

    wired(test)


def test_bodies_that_are_no_json_are_none() -> None:
    """What is called bad cannot be read; what is called odd can."""

    async def test(wire: Wire) -> None:
        with pytest.raises(json.JSONDecodeError):
            json.loads((await provoke(wire, "bad_json")).body)
        with pytest.raises(UnicodeDecodeError):
            json.loads((await provoke(wire, "bad_utf8")).body)
        with pytest.raises(ValueError, match="integer string conversion"):
            json.loads((await provoke(wire, "huge_int")).body)

        assert json.loads((await provoke(wire, "nan")).body)["run_id"] is not None
        assert "SUCCESS" == json.loads((await provoke(wire, "dup_keys")).body)["status"]
        assert {**PENDING} == json.loads((await provoke(wire, "wrong_type")).body)

    wired(test)


def test_deep_json_is_balanced() -> None:
    """It is well formed, and only too deep."""

    async def test(wire: Wire) -> None:
        seen = await provoke(wire, Fault("deep_json", depth=3))

        assert [[[]]] == json.loads(seen.body)

        seen = await provoke(wire, "deep_json")

        assert 200_000 == len(seen.body) == int(seen.headers["Content-Length"])
        with pytest.raises(RecursionError):
            json.loads(seen.body)

    wired(test)


def test_a_gzip_bomb_is_small_until_it_is_read() -> None:
    """50 MB of valid JSON come out of less than 100 kB."""

    async def test(wire: Wire) -> None:
        seen = await provoke(wire, "gzip_bomb")
        inflated = zlib.decompress(seen.body, wbits=31)

        assert len(seen.body) < 100_000
        assert len(inflated) > 50_000_000
        assert inflated.startswith(b'{"status": "PENDING", "message": "x')
        assert inflated.endswith(b'x"}')

    wired(test)


def test_a_huge_body_is_valid() -> None:
    """2 MiB that are one JSON object."""

    async def test(wire: Wire) -> None:
        seen = await provoke(wire, "huge_body")

        assert len(seen.body) > 2 * 1024 * 1024
        assert "PENDING" == json.loads(seen.body)["status"]

    wired(test)


@pytest.mark.parametrize(
    ("fault", "header", "value"),
    [
        (Fault("429", retry_after="٣"), "Retry-After", "٣"),
        (Fault("429", retry_after="-1"), "Retry-After", "-1"),
        (Fault("503_retry_after", retry_after="120"), "Retry-After", "120"),
        (Fault("429", headers={"retry-after-ms": "50"}), "retry-after-ms", "50"),
        (Fault("redirect", location="/x", status=307), "Location", "/x"),
        (Fault("http", headers={"x-should-retry": "no"}), "x-should-retry", "no"),
    ],
)
def test_options_reach_the_wire(fault: Fault, header: str, value: str) -> None:
    """An option of a fault is sent as it was given."""

    async def test(wire: Wire) -> None:
        seen = await provoke(wire, fault)

        assert value.encode() in seen.data
        assert header in seen.headers

    wired(test)


@pytest.mark.parametrize(
    ("body", "sent"),
    [("text", b"text"), (b"\x00", b"\x00"), ({"a": [1]}, b'{"a": [1]}')],
)
def test_any_answer_can_be_made(body: object, sent: bytes) -> None:
    """``http`` answers any status with any body."""

    async def test(wire: Wire) -> None:
        seen = await provoke(wire, Fault("http", status=418, body=body))

        assert (418, sent) == (seen.status, seen.body)

    wired(test)


def test_a_lost_post_has_created_its_task() -> None:
    """``post_lost`` happens after the work, ``reset`` before it."""

    async def main() -> None:
        body = json.dumps({"text": "a", "voice_description": "b"}).encode()
        async with Simulator() as simulator:
            port = URL(simulator.base_url).port
            for fault, count in (("reset", 0), ("post_lost", 1)):
                simulator.fail(fault)
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                seen = await Wire(simulator, reader, writer).ask(
                    "/text-to-voice", "POST", body
                )
                writer.transport.abort()

                assert Seen(b"", "reset") == seen
                assert f"{count} tasks" in repr(simulator)

    asyncio.run(main())


def test_slow_answers_take_their_time() -> None:
    """The seconds are divided by the simulator's speed."""

    async def test(wire: Wire) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        seen = await provoke(wire, Fault("slow", seconds=20.0))

        assert "whole" == seen.end
        assert 0.09 < loop.time() - began < 10.0

    wired(test, speed=200)


def test_drops_fall_one_by_one() -> None:
    """A dripping body comes whole in the end, byte after byte."""

    async def test(wire: Wire) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        seen = await provoke(wire, "drip")

        assert PENDING == json.loads(seen.body)
        assert loop.time() - began > 0.001 * len(seen.body)

    wired(test, speed=100)


def test_an_idle_connection_is_closed_without_a_word() -> None:
    """The answer promises to keep the connection, and then it ends."""

    async def test(wire: Wire) -> None:
        seen = await provoke(wire, "idle_close")

        assert "whole" == seen.end
        assert "Connection" not in seen.headers
        assert Seen(b"", "eof") == await wire.read()

    wired(test)


def test_a_stale_connection_drops_the_next_request() -> None:
    """The connection lives on; the next request on it dies, and is logged."""

    async def test(wire: Wire) -> None:
        await provoke(wire, "stale")

        assert Seen(b"", "eof") == await wire.ask("/text-to-voice/t")
        assert "stale" == wire.simulator.requests[-1].answer

    wired(test)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("lower_case", {**PENDING, "status": "pending"}),
        ("bare_string", "PENDING"),
        ("set_cookie", PENDING),
        ("evil_filename", PENDING),
        ("many_headers", PENDING),
        ("not_gzip", PENDING),
    ],
)
def test_odd_answers_tell_the_truth(name: str, expected: object) -> None:
    """What is only odd says what is so."""

    async def test(wire: Wire) -> None:
        assert expected == json.loads((await provoke(wire, name)).body)

    wired(test)


def test_a_final_status_is_told_oddly_too() -> None:
    """The truth is the task's, not always PENDING; only regress denies it."""

    async def test(wire: Wire) -> None:
        expected = {"lower_case": "success", "extra_fields": "SUCCESS"}
        for name, status in (*expected.items(), ("regress", "PENDING")):
            seen = await provoke(wire, name, after=0, run_id=0)

            assert status == json.loads(seen.body)["status"]

    wired(test)


def test_a_fault_that_needs_a_status_leaves_other_answers_alone() -> None:
    """What is no object with a status is answered as it is."""

    async def test(wire: Wire) -> None:
        wire.simulator.add_task("t", answers=[["no", "object"]])
        wire.simulator.fail("lower_case")
        seen = await wire.ask("/text-to-voice/t")

        assert ["no", "object"] == json.loads(seen.body)

    wired(test)


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("reset", aiohttp.ClientOSError),
        ("disconnect", aiohttp.ServerDisconnectedError),
        ("reset_mid_body", aiohttp.ClientError),
        ("truncate_content_length", aiohttp.ClientPayloadError),
        ("truncate_chunked", aiohttp.ClientPayloadError),
        ("garbage", aiohttp.ClientResponseError),
        ("many_headers", aiohttp.ClientResponseError),
        ("endless_headers", aiohttp.ClientError),
        ("redirect", aiohttp.ClientConnectorError),
    ],
)
def test_faults_are_felt_by_a_real_client(
    name: str, error: type[aiohttp.ClientError]
) -> None:
    """An aiohttp session fails on them as it would on a real server."""

    async def main() -> None:
        async with Simulator() as simulator, aiohttp.ClientSession() as http:
            simulator.fail(name, times=None)
            with pytest.raises(error):
                async with http.get(f"{simulator.base_url}/text-to-voice/1") as answer:
                    await answer.read()

    asyncio.run(main())


def test_previews_can_be_cut_too() -> None:
    """Faults work on downloads, where a close-delimited cut is silent."""

    async def main() -> None:
        async with Simulator() as simulator, aiohttp.ClientSession() as http:
            simulator.add_task(run_id=1)
            headers = {"x-api-key": simulator.api_key}
            url = f"{simulator.base_url}/text-to-voice-result/1"
            async with http.get(url, headers=headers) as answer:
                link = URL((await answer.json())["previews"][0], encoded=True)
            simulator.fail(Fault("truncate_close", keep=0.25), path="/previews/")
            async with http.get(link) as answer:
                assert 8_011 == len(await answer.read())

    asyncio.run(main())


def test_faults_are_values() -> None:
    """Equal by name and options, hashable, and strict about both."""
    assert Fault("slow", seconds=2) == Fault("slow", seconds=2)
    assert Fault("slow", seconds=2) != Fault("slow")
    assert 1 == len({Fault("slow"), Fault("slow")})
    with pytest.raises(ValueError, match="No fault is called 'sloth'; known: reset,"):
        Fault("sloth")
    with pytest.raises(TypeError, match=r"takes the options \['seconds'\]"):
        Fault("slow", hours=1)
