"""Cases 1 to 8: what may become of a connection while something is under way."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from camb_async import (
    APIConnectionError,
    APITimeoutError,
    CambSession,
    DownloadError,
    FixedInterval,
    InvalidResponseError,
    Limits,
    SubmissionUnknownError,
    TaskStatus,
    _fetching,
)
from camb_async.simulator import Fault, Simulator
from tests.downloading import (
    AUDIO,
    PREVIEWS,
    RUN,
    TUNE,
    TWO_TRIES,
    WAV,
    behind,
    fetched,
    finished,
    names,
)
from tests.helpers import (
    DESCRIPTION,
    QUICK,
    SOON,
    open_files,
    run,
    run_in_virtual_time,
    served,
    until,
)
from tests.raw_server import answer, raw_server


def creates(simulator: Simulator) -> int:
    """Return how many create calls arrived."""
    return sum(request.method == "POST" for request in simulator.requests)


# 1: an idle connection that the server has given up.


@pytest.mark.parametrize("fault", ["stale", "idle_close"])
def test_case_01_reads_do_not_notice_a_connection_given_up(fault: str) -> None:
    """Each of 200 polls is answered, though nearly each met a dead connection."""

    async def main() -> int:
        async with served() as (simulator, camb):
            task = simulator.add_task(after=1000)
            simulator.fail(fault, times=None)
            states = [await camb.poll(task) for _ in range(200)]
            assert {TaskStatus.PENDING} == {state.status for state in states}

            return len(simulator.requests)

    sent = run(main())

    # Whether a closed connection is tried at all is a race; a stale one always is.
    assert 399 == sent if fault == "stale" else 200 <= sent <= 399


def test_case_01_a_create_on_a_connection_given_up_is_sent_once() -> None:
    """Nobody can tell whether it arrived, so the caller has to look."""

    async def main() -> None:
        async with served() as (simulator, camb):
            simulator.fail("stale")
            await camb.poll(simulator.add_task())
            with pytest.raises(SubmissionUnknownError, match="may exist"):
                await camb.create_text_to_voice(text="a", voice_description=DESCRIPTION)
            assert 1 == creates(simulator)

    run(main())


def test_case_01_no_create_is_repeated_on_connections_that_close() -> None:
    """Whichever way the race goes: at most one request for each call."""

    async def main() -> None:
        async with served() as (simulator, camb):
            simulator.fail("idle_close", times=None)
            made = 0
            for _ in range(50):
                try:
                    await camb.create_text_to_voice(
                        text="a", voice_description=DESCRIPTION
                    )
                    made += 1
                except SubmissionUnknownError:
                    pass
            assert made <= creates(simulator) <= 50

    run(main())


# 2: a create whose answer is lost.


@pytest.mark.parametrize(
    "fault",
    [
        *("post_lost", "reset", "disconnect", "hang", "garbage", "many_headers"),
        *("truncate_content_length", "truncate_chunked", "truncate_close"),
        *("html_200", "204", "bad_json", "null_task_id"),
    ],
)
def test_case_02_a_create_without_an_answer_is_never_sent_twice(fault: str) -> None:
    """No usable answer means that the task may exist."""

    async def main() -> None:
        async with served(request_timeout=2.0) as (simulator, camb):
            await camb.poll(simulator.add_task())  # there is a connection to reuse
            simulator.fail(fault, method="POST")
            with pytest.raises(SubmissionUnknownError, match="may exist") as caught:
                await camb.create_text_to_voice(text="a", voice_description=DESCRIPTION)
            assert not caught.value.retryable
            assert 1 == creates(simulator)

    run(main())


def test_case_02_a_connect_that_is_refused_sent_nothing() -> None:
    """So a create may be tried again, and a read is."""

    async def main() -> None:
        async with Simulator() as simulator:
            base_url = simulator.base_url
        async with CambSession("key", base_url=base_url, retry=QUICK) as camb:
            with pytest.raises(APIConnectionError) as caught:
                await camb.get_task_status("a")
            assert not caught.value.request_sent
            with pytest.raises(APIConnectionError, match="No connection"):
                await camb.create_text_to_voice(text="a", voice_description=DESCRIPTION)

    run(main())


# 3: more to ask than there are connections.


@pytest.mark.slow
def test_case_03_ten_thousand_tasks_share_twenty_connections() -> None:
    """No poll times out or fails, however long it waited for its turn."""

    async def main() -> None:
        limits = Limits(max_in_flight=20, max_rate=None)
        async with served(limits=limits) as (simulator, camb):
            tasks = [simulator.add_task(after=0) for _ in range(10_000)]
            before, most, finals = open_files(), 0, list[str]()
            async with camb.watch(tasks, schedule=FixedInterval(0.1)) as watcher:
                async for transition in watcher:
                    assert transition.succeeded

                    finals.append(transition.task_id)
                    if len(finals) % 100 == 0:
                        most = max(most, open_files())
                assert 0 == watcher.stats().failed_polls
            assert sorted(tasks) == sorted(finals)
            # Both ends of each connection are in this process.
            assert most - before <= 2 * 20

    run(main())


def test_case_03_the_timeout_starts_after_a_slot_is_had() -> None:
    """Ten slow calls through one slot do not time out for having waited."""

    async def main() -> None:
        limits = Limits(max_in_flight=1, max_rate=None)
        async with served(limits=limits, request_timeout=1.5) as (simulator, camb):
            slow = Fault("slow", seconds=0.2)
            tasks = [simulator.add_task(answers=[slow, slow]) for _ in range(10)]
            began = time.monotonic()
            await asyncio.gather(*(camb.poll(task) for task in tasks))
            # So the last one has waited for longer than a request may take.
            assert time.monotonic() - began > 1.5

    run(main())


def test_case_03_downloads_take_no_slot_from_the_polls(tmp_path: Path) -> None:
    """Previews that hang leave the session's only slot free."""

    async def main() -> None:
        async with finished(limits=Limits(max_in_flight=1)) as (simulator, camb):
            simulator.fail("hang", times=None, path=PREVIEWS)
            download = asyncio.ensure_future(camb.download_previews(RUN, tmp_path))
            await until(lambda: len(fetched(simulator)) == 2)
            task = simulator.add_task(after=0)
            assert (await camb.wait(task, deadline=10)).is_final
            download.cancel()
            await asyncio.wait([download])

    run(main())


# 4: a server that dawdles.


@pytest.mark.parametrize("fault", ["hang", "drip"])
def test_case_04_a_poll_that_dawdles_is_a_timeout(fault: str) -> None:
    """Silence and one byte at a time are the same, and a watch goes on."""

    async def main() -> None:
        async with served(request_timeout=0.3) as (simulator, camb):
            task = simulator.add_task(answers=[fault, fault, "SUCCESS"])
            with pytest.raises(APITimeoutError, match=r"0\.3 s"):
                await camb.poll(task)
            assert (await camb.wait(task, schedule=SOON)).is_final

    run(main())


async def say_nothing(_target: str, _writer: asyncio.StreamWriter) -> None:
    """Leave the client waiting."""
    await asyncio.Event().wait()


async def say_a_bit(_target: str, writer: asyncio.StreamWriter) -> None:
    """Stop in the middle of the body."""
    writer.write(answer(TUNE, AUDIO, length=len(TUNE) + 1))
    await asyncio.Event().wait()


async def drip_head(_target: str, writer: asyncio.StreamWriter) -> None:
    """Send headers, a byte at a time and without an end."""
    writer.write(b"HTTP/1.1 200 OK\r\nX-Filler: ")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.02)


async def drip_body(_target: str, writer: asyncio.StreamWriter) -> None:
    """Send the body a byte at a time."""
    writer.write(answer(b"", AUDIO, length=len(TUNE)))
    for byte in TUNE:
        writer.write(bytes((byte,)))
        await writer.drain()
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("serve", [say_nothing, say_a_bit, drip_head, drip_body])
def test_case_04_a_preview_that_dawdles_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, serve: Callable[..., Any]
) -> None:
    """Whether it is silent or trickles, before or within the body."""
    monkeypatch.setattr(_fetching, "IDLE_TIMEOUT", 0.15)

    async def main() -> None:
        async with (
            raw_server(serve) as server,
            behind(server.origin, retry=TWO_TRIES) as camb,
        ):
            with pytest.raises(
                DownloadError, match=r"broke off \(\w*Timeout"
            ) as caught:
                await camb.download_previews(RUN, tmp_path)
            assert isinstance(caught.value.__cause__, TimeoutError)
            assert 2 == len(server.heads)

    run(main())

    assert [] == names(tmp_path)


def test_case_04_a_slow_preview_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may take much longer than the idle timeout, as long as enough comes."""
    monkeypatch.setattr(_fetching, "IDLE_TIMEOUT", 0.2)
    monkeypatch.setattr(_fetching, "RATE_MIN", 1)

    async def serve(_target: str, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(b"", AUDIO, length=len(TUNE)))
        for part in range(0, len(TUNE), 400):
            writer.write(TUNE[part : part + 400])
            await writer.drain()
            await asyncio.sleep(0.025)

    async def main() -> None:
        async with raw_server(serve) as server, behind(server.origin) as camb:
            began = time.monotonic()
            await camb.download_previews(RUN, tmp_path)
            assert 0.4 < time.monotonic() - began

    run(main())

    assert TUNE == (tmp_path / "7-1.mp3").read_bytes()


# 5: cancelled in the middle of an answer.


def test_case_05_a_thousand_cancelled_polls_leave_nothing_open() -> None:
    """Sockets and tasks are back to what they were, and polling goes on."""

    async def main() -> None:
        async with served() as (simulator, camb):
            good = simulator.add_task()
            await camb.poll(good)
            files, tasks = open_files(), len(asyncio.all_tasks())
            drips = simulator.add_task(answers=[Fault("drip", seconds=60)])
            for _ in range(20):
                simulator.requests.clear()
                calls = [asyncio.ensure_future(camb.poll(drips)) for _ in range(50)]
                await until(lambda: len(simulator.requests) == 50)
                for call in calls:
                    call.cancel()
                await asyncio.wait(calls)
                assert all(call.cancelled() for call in calls)
            await until(
                lambda: open_files() <= files and len(asyncio.all_tasks()) <= tasks
            )
            await camb.poll(good)

    run_in_virtual_time(main())


# 7: an answer that is cut short.


@pytest.mark.parametrize("keep", [0.0, 0.5, 1.0])
@pytest.mark.parametrize(
    "name", ["truncate_content_length", "truncate_chunked", "truncate_close"]
)
def test_case_07_a_cut_answer_is_a_failed_poll(name: str, keep: float) -> None:
    """Wherever it is cut: never taken for an answer, and asked for again."""
    fault = Fault(name, keep=keep)

    async def main() -> InvalidResponseError:
        async with served() as (simulator, camb):
            task = simulator.add_task(answers=[fault, fault, "PENDING", "SUCCESS"])
            with pytest.raises(InvalidResponseError) as caught:
                await camb.poll(task)
            assert TaskStatus.PENDING is (await camb.get_task_status(task)).status
            assert (await camb.wait(task, schedule=SOON)).is_final

            return caught.value

    error = run(main())

    assert error.retryable
    assert "again" in str(error)
    assert len(error.body_excerpt) <= 200


@pytest.mark.parametrize("keep", [0.0, 0.5, 1.0])
@pytest.mark.parametrize(
    "name", ["truncate_content_length", "truncate_chunked", "truncate_close"]
)
def test_case_07_a_cut_preview_is_fetched_again_or_not_kept(
    tmp_path: Path, name: str, keep: float
) -> None:
    """What is published is whole; what stays cut leaves nothing on the disk."""
    fault = Fault(name, keep=keep)
    good, again, never = (tmp_path / name for name in ("good", "again", "never"))

    async def main() -> None:
        async with finished(retry=TWO_TRIES) as (simulator, camb):
            await camb.download_previews(RUN, good)
            simulator.fail(fault, path=PREVIEWS)
            await camb.download_previews(RUN, again)
            simulator.fail(fault, times=None, path=PREVIEWS)
            with pytest.raises(DownloadError, match="This was try 2"):
                await camb.download_previews(RUN, never)

    run(main())

    assert ["7-1.wav", "7-2.wav"] == names(good) == names(again)
    for file in names(good):
        assert (good / file).read_bytes() == (again / file).read_bytes()
    assert [] == names(never)


@pytest.mark.parametrize(
    ("body", "whole"),
    [
        (WAV, True),
        (WAV[:-1], False),
        (WAV + b"x", False),
        (b"RIFF\xff\xff\xff\xffWAVE", False),
        (b"RIFF", False),
        (TUNE, False),
    ],
    ids=["whole", "cut", "too long", "unknown", "tiny", "mp3"],
)
def test_case_07_a_preview_that_ends_with_its_connection(
    tmp_path: Path,
    body: bytes,
    whole: bool,  # noqa: FBT001
) -> None:
    """WAV says how long it is; of anything else nobody can tell."""

    async def serve(_target: str, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(body, "Content-Type: audio/wav", length=-1))

    async def main() -> None:
        async with (
            raw_server(serve) as server,
            behind(server.origin, retry=TWO_TRIES) as camb,
        ):
            if whole:
                await camb.download_previews(RUN, tmp_path)
                return
            with pytest.raises(DownloadError, match="nobody can tell"):
                await camb.download_previews(RUN, tmp_path)
            assert 2 == len(server.heads)

    run(main())

    assert ["7-1.wav"] * whole == names(tmp_path)


# 8: bytes that are no answer.


@pytest.mark.parametrize("fault", ["garbage", "many_headers", "endless_headers"])
def test_case_08_what_is_not_http_is_no_refusal(fault: str) -> None:
    """The parser makes it a 400 that nobody sent; it is told as what it is."""

    async def main() -> InvalidResponseError:
        async with served() as (simulator, camb):
            task = simulator.add_task(answers=[fault, "PENDING", fault, "SUCCESS"])
            with pytest.raises(InvalidResponseError, match="not HTTP") as caught:
                await camb.poll(task)
            state = await camb.wait(task, schedule=SOON)
            assert TaskStatus.SUCCESS is state.status

            return caught.value

    error = run(main())

    assert error.retryable
    assert error.status_code is None
    assert "something else in between?" in str(error)
    assert "400" not in f"{error!r} {error.__cause__!r}"
    assert len(str(error)) < 400


@pytest.mark.parametrize("fault", ["garbage", "many_headers"])
def test_case_08_what_is_not_http_is_no_preview(tmp_path: Path, fault: str) -> None:
    """A download makes another try, and does not speak of a 400 either."""

    async def main() -> None:
        async with finished(retry=TWO_TRIES) as (simulator, camb):
            simulator.fail(fault, path=PREVIEWS)
            await camb.download_previews(RUN, tmp_path / "new")
            simulator.fail(fault, times=None, path=PREVIEWS)
            with pytest.raises(DownloadError, match="This was try 2") as caught:
                await camb.download_previews(RUN, tmp_path / "never")
            assert "400" not in str(caught.value)

    run(main())

    assert ["7-1.wav", "7-2.wav"] == names(tmp_path / "new")
    assert not (tmp_path / "never").exists()


def test_case_08_an_answer_after_many_continues_counts() -> None:
    """Fifty thousand interim answers are odd, and the last one is the answer."""

    async def main() -> None:
        async with served() as (simulator, camb):
            task = simulator.add_task(after=0)
            simulator.fail("many_continues")
            assert (await camb.poll(task)).is_final
            assert 1 == len(simulator.requests)

    run(main())


def test_case_08_continues_without_an_end_are_a_timeout() -> None:
    """They are no answer; the next poll is not held up by them."""

    async def main() -> None:
        async with served(request_timeout=1.0) as (simulator, camb):
            task = simulator.add_task(answers=["endless_continues", "SUCCESS"])
            with pytest.raises(APITimeoutError):
                await camb.poll(task)
            assert (await camb.poll(task)).is_final

    run(main())
