"""What comes back, and what becomes of it on the disk: cases 42 to 45."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest

from camb_async import (
    CambSession,
    DownloadError,
    DownloadProgress,
    FixedInterval,
    InvalidResponseError,
    TextToVoiceResult,
    _fetching,
)
from camb_async.simulator import Fault, Simulator, ThreadedSimulator
from tests.downloading import (
    AUDIO,
    ONE_TRY,
    PREVIEWS,
    RUN,
    TUNE,
    WAV,
    behind,
    by_name,
    fetched,
    finished,
    names,
)
from tests.helpers import run, served
from tests.raw_server import answer, raw_server


SOON = FixedInterval(0.02)


@pytest.mark.parametrize("fault", ["gzip_bomb", "huge_body", "endless_body"])
def test_case_42_an_answer_is_read_up_to_a_mebibyte(fault: str) -> None:
    """Counted after inflation, and never held as a whole; a watch goes on."""

    async def main() -> None:
        async with served() as (simulator, camb):
            task = simulator.add_task(answers=[fault, fault, "SUCCESS"])
            with pytest.raises(InvalidResponseError, match="more than 1048576 bytes"):
                await camb.poll(task)
            tracemalloc.start()
            try:
                assert (await camb.wait(task, schedule=SOON)).is_final
                _now, most = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            assert most < 16 * 1024 * 1024
            assert {"identity"} == {
                request.headers["Accept-Encoding"] for request in simulator.requests
            }

    run(main())


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nX-Filler: ",
        b"HTTP/1.1 200 ",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n",
    ],
    ids=["headers", "header", "reason", "trailers"],
)
def test_case_42_headers_that_never_end_are_not_read_for_ever(
    head: bytes, tmp_path: Path
) -> None:
    """Neither from the API nor from who serves the previews."""
    endless = b"x" * 10_000 if head.endswith(b" ") else b"X-Filler: xxxx\r\n" * 500

    async def serve(_target: str, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        while True:
            writer.write(endless)
            await writer.drain()

    async def main() -> None:
        async with (
            raw_server(serve) as server,
            CambSession("key", base_url=server.origin, retry=ONE_TRY) as camb,
        ):
            with pytest.raises(InvalidResponseError, match="not HTTP"):
                await camb.poll("t")
            with pytest.raises(DownloadError):
                await camb.download_previews(
                    TextToVoiceResult(RUN, (f"{server.origin}/x",)), tmp_path
                )

    run(main())

    assert [] == names(tmp_path)


@pytest.mark.parametrize("encoding", ["gzip", "zstd", "br", "deflate", "identity, x"])
def test_case_42_a_body_that_is_encoded_unasked_is_an_error_of_ours(
    encoding: str, tmp_path: Path
) -> None:
    """What cannot be decoded is no answer, and a preview is never decoded."""

    async def serve(_target: str, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(TUNE, AUDIO, f"Content-Encoding: {encoding}"))

    async def main() -> None:
        async with (
            raw_server(serve) as server,
            CambSession("key", base_url=server.origin, retry=ONE_TRY) as camb,
        ):
            with pytest.raises(InvalidResponseError):
                await camb.poll("t")
            with pytest.raises(DownloadError, match="was not asked for"):
                await camb.download_previews(
                    TextToVoiceResult(RUN, (f"{server.origin}/x",)), tmp_path
                )

    run(main())

    assert [] == names(tmp_path)


def test_case_42_a_file_that_is_announced_too_large_is_not_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its length is known before its bytes; the error names the cap."""
    monkeypatch.setattr(_fetching, "FILE_MAX", 1000)
    told: list[DownloadProgress] = []

    async def main() -> None:
        async with finished() as (simulator, camb):
            with pytest.raises(DownloadError, match="more than 1000 bytes"):
                await camb.download_previews(RUN, tmp_path, on_progress=told.append)
            assert 2 >= len(fetched(simulator))

    run(main())

    assert [] == told
    assert [] == names(tmp_path)


def test_case_42_a_file_that_never_ends_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody announced how long it is: the bytes are counted."""
    monkeypatch.setattr(_fetching, "FILE_MAX", 1_000_000)

    async def serve(_target: str, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(b"", AUDIO, "Transfer-Encoding: chunked", length=-1))
        while True:
            writer.write(b"400\r\n" + b"x" * 1024 + b"\r\n")
            await writer.drain()

    async def main() -> None:
        async with raw_server(serve) as server, behind(server.origin) as camb:
            with pytest.raises(DownloadError, match="more than 1000000 bytes"):
                await camb.download_previews(RUN, tmp_path)
            assert 1 == len(server.heads)

    run(main())

    assert [] == names(tmp_path)


def test_case_43_cookies_are_not_kept(tmp_path: Path) -> None:
    """Neither service needs one, and a flood of them is memory."""

    async def main() -> None:
        async with Simulator() as simulator:
            # Of an address, unlike of a name, no jar keeps a cookie.
            base_url = simulator.base_url.replace("127.0.0.1", "localhost")
            async with CambSession(simulator.api_key, base_url=base_url) as camb:
                task = simulator.add_task(run_id=RUN, answers=["PENDING"])
                simulator.fail(Fault("set_cookie", count=50), times=None)
                for _ in range(20):
                    await camb.poll(task)
                result = by_name(await camb.get_text_to_voice_result(RUN))
                for _ in range(2):
                    await camb.download_previews(result, tmp_path, overwrite=True)
            assert 25 == len(simulator.requests)
            for request in simulator.requests:
                assert "cookie" not in {name.lower() for name in request.headers}

    run(main())


@pytest.mark.parametrize(
    "name",
    [
        *("../../evil.wav", "/etc/evil", "C:\\evil", "..\\evil", "CON", "x" * 300),
        *("%2e%2e%2fevil", "evil%00.wav", "x\"; filename*=UTF-8''..%2fevil"),
    ],
)
def test_case_44_names_from_the_server_are_ignored(tmp_path: Path, name: str) -> None:
    """Whatever Content-Disposition asks for."""

    async def main() -> None:
        async with finished() as (simulator, camb):
            evil = Fault("evil_filename", name=name)
            simulator.fail(evil, times=None, path=PREVIEWS)
            await camb.download_previews(RUN, tmp_path / "in" / "here")

    run(main())

    assert ["7-1.wav", "7-2.wav"] == names(tmp_path / "in" / "here")
    assert ["in"] == names(tmp_path)


def test_case_44_the_name_in_a_link_is_ignored(tmp_path: Path) -> None:
    """Files are named after run and number; a run id is no path."""

    async def serve(_target: str, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(TUNE, AUDIO))

    async def main() -> None:
        async with raw_server(serve) as server:
            evil = (f"{server.origin}/..%2f..%2fevil.sh", f"{server.origin}/../x.exe")
            async with behind(*evil) as camb:
                await camb.download_previews(RUN, tmp_path / "in" / "here")
                with pytest.raises(ValueError, match="run_id"):
                    await camb.download_previews(
                        TextToVoiceResult("../../evil", evil),  # type: ignore[arg-type]
                        tmp_path / "in" / "here",
                    )

    run(main())

    assert ["7-1.mp3", "7-2.mp3"] == names(tmp_path / "in" / "here")
    assert ["in"] == names(tmp_path)


def test_case_44_a_symbolic_link_is_not_followed(tmp_path: Path) -> None:
    """Also one to a file that does not exist yet."""
    directory = tmp_path / "previews"
    directory.mkdir()
    (directory / "7-1.wav").symlink_to(tmp_path / "nowhere")

    async def main() -> None:
        async with finished() as (_, camb):
            with pytest.raises(DownloadError, match="there already"):
                await camb.download_previews(RUN, directory)
            await camb.download_previews(RUN, directory, overwrite=True)

    run(main())

    assert ["previews"] == names(tmp_path)
    assert not (directory / "7-1.wav").is_symlink()


#: A whole answer, by how it tells where its body ends.
FRAMINGS = {
    "length": answer(WAV, AUDIO),
    "chunks": answer(b"", AUDIO, "Transfer-Encoding: chunked", length=-1)
    + b"%x\r\n%b\r\n0\r\n\r\n" % (len(WAV), WAV),
    "connection": answer(WAV, AUDIO, length=-1),
}


@pytest.mark.parametrize("framing", FRAMINGS)
def test_case_45_a_download_that_is_cut_at_any_byte_leaves_nothing(
    framing: str, tmp_path: Path
) -> None:
    """Neither a part of the file nor a scratch on the one that was to be replaced."""
    whole = FRAMINGS[framing]
    given = [whole]
    (tmp_path / "7-1.mp3").write_bytes(b"old")

    async def main() -> None:
        async def serve(_target: str, writer: asyncio.StreamWriter) -> None:
            writer.write(given[-1])

        async with (
            raw_server(serve) as server,
            behind(server.origin, retry=ONE_TRY) as camb,
        ):
            for kept in range(len(whole)):
                given[:] = [whole[:kept]]
                with pytest.raises(DownloadError):
                    await camb.download_previews(RUN, tmp_path, overwrite=True)
                assert ["7-1.mp3"] == names(tmp_path)
            assert b"old" == (tmp_path / "7-1.mp3").read_bytes()
            given[:] = [whole]
            await camb.download_previews(RUN, tmp_path, overwrite=True)

    run(main())

    assert WAV == (tmp_path / "7-1.mp3").read_bytes()


@pytest.mark.parametrize("there", ["7-1.wav", "7-2.mp3", "7-1.bin"])
def test_case_45_nothing_is_fetched_when_a_file_is_there(
    tmp_path: Path, there: str
) -> None:
    """Also one of another kind of audio; the error says what can be done."""
    (tmp_path / there).write_bytes(b"old")

    async def main() -> None:
        async with finished() as (simulator, camb):
            with pytest.raises(DownloadError, match="pass overwrite=True") as caught:
                await camb.download_previews(RUN, tmp_path)
            assert there in str(caught.value)
            assert [] == fetched(simulator)

    run(main())

    assert [there] == names(tmp_path)
    assert b"old" == (tmp_path / there).read_bytes()


def test_case_45_a_file_that_comes_meanwhile_is_not_touched(tmp_path: Path) -> None:
    """Looking first is not all there is to it."""

    def put(progress: DownloadProgress) -> None:
        if progress.index == 0 and progress.path is None:
            (tmp_path / "7-1.wav").write_bytes(b"old")

    async def main() -> None:
        async with finished() as (_, camb):
            with pytest.raises(DownloadError, match="there already") as caught:
                await camb.download_previews(RUN, tmp_path, on_progress=put)
            assert isinstance(caught.value.__cause__, FileExistsError)

    run(main())

    assert b"old" == (tmp_path / "7-1.wav").read_bytes()
    assert not list(tmp_path.glob(".camb*"))


def test_case_45_files_are_replaced_when_asked_for(tmp_path: Path) -> None:
    """A symbolic link too, and not what it leads to."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"old")
    directory = tmp_path / "previews"
    directory.mkdir()
    (directory / "7-1.wav").symlink_to(victim)
    (directory / "7-2.wav").write_bytes(b"old")

    async def main() -> None:
        async with finished() as (_, camb):
            with pytest.raises(DownloadError):
                await camb.download_previews(RUN, directory)
            await camb.download_previews(RUN, directory, overwrite=True)

    run(main())

    assert b"old" == victim.read_bytes()
    assert not (directory / "7-1.wav").is_symlink()
    for name in names(directory):
        assert (directory / name).read_bytes().startswith(b"RIFF")


def test_case_45_of_two_who_fetch_the_same_one_is_told(tmp_path: Path) -> None:
    """Both at once into one directory: whole files, and no part left."""

    async def main() -> None:
        async with finished() as (_, camb):
            both = (camb.download_previews(RUN, tmp_path) for _ in range(2))
            outcomes = await asyncio.gather(*both, return_exceptions=True)
            failures = [o for o in outcomes if isinstance(o, BaseException)]
            assert failures
            assert all(isinstance(failure, DownloadError) for failure in failures)

    run(main())

    assert {"7-1.wav", "7-2.wav"} >= set(names(tmp_path))


FULL = """
import asyncio, resource, sys
from camb_async import CambSession, DownloadError

async def main():
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
    async with CambSession("simulator-key", base_url=sys.argv[1]) as camb:
        try:
            await camb.download_previews(7, sys.argv[2], overwrite=True)
        except DownloadError as error:
            print(error, type(error.__cause__).__name__)

asyncio.run(main())
"""


def test_case_45_a_disk_that_takes_no_more_is_told(tmp_path: Path) -> None:
    """After a part was written, without another try; what was there stays."""
    (tmp_path / "7-1.wav").write_bytes(b"old")
    with ThreadedSimulator() as simulator:
        simulator.add_task(run_id=RUN, after=0)
        script = [sys.executable, "-c", FULL, simulator.base_url, str(tmp_path)]
        ended = subprocess.run(  # noqa: S603 - our own program
            script, capture_output=True, text=True, check=True
        )
        asked = [r for r in simulator.requests if r.path.startswith(PREVIEWS)]

    assert "could not be written: [Errno 27] File too large" in ended.stdout
    assert ended.stdout.endswith("Make room, or pass another directory. OSError\n")
    assert len(asked) <= 2
    assert ["7-1.wav"] == names(tmp_path)
    assert b"old" == (tmp_path / "7-1.wav").read_bytes()


KILLED = """
import asyncio, sys
from camb_async import CambSession

async def main():
    async with CambSession("simulator-key", base_url=sys.argv[1]) as camb:
        await camb.download_previews(
            7, sys.argv[2], on_progress=lambda p: print(p.received, flush=True)
        )

asyncio.run(main())
"""


@pytest.mark.parametrize("received", [1, 200])
def test_case_45_a_killed_download_leaves_no_file_of_that_name(
    tmp_path: Path, received: int
) -> None:
    """SIGKILL in the middle: at most a hidden part is left."""
    with ThreadedSimulator() as simulator:
        simulator.add_task(run_id=RUN, after=0)
        slow = Fault("drip", seconds=0.0001)
        simulator.fail(slow, times=None, path=PREVIEWS)
        script = [sys.executable, "-c", KILLED, simulator.base_url, str(tmp_path)]
        with subprocess.Popen(  # noqa: S603 - our own program
            script, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if int(line) >= received:
                    break
            process.send_signal(signal.SIGKILL)

    assert -signal.SIGKILL == process.returncode
    assert names(tmp_path)
    for name in names(tmp_path):
        assert name.startswith(".camb-")
        assert name.endswith(".part")
