"""Downloads on real sockets: which files come to be, and from which links."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from camb_async import (
    DownloadError,
    DownloadProgress,
    InvalidResponseError,
    LinkExpiredError,
    TextToVoiceResult,
)
from camb_async.simulator import Fault

from .downloading import (
    AUDIO,
    PREVIEWS,
    RESULT,
    RUN,
    TUNE,
    WAV,
    behind,
    fetched,
    file,
    finished,
    names,
    results_asked,
)
from .helpers import run
from .raw_server import answer, raw_server


def test_previews_are_files_named_after_run_and_number(tmp_path: Path) -> None:
    """In the order of the links; the directory is made."""

    async def main() -> list[Path]:
        async with finished() as (_, camb):
            return await camb.download_previews(RUN, tmp_path / "a" / "b")

    paths = run(main())

    assert [tmp_path / "a" / "b" / f"7-{n}.wav" for n in (1, 2)] == paths
    assert ["7-1.wav", "7-2.wav"] == names(tmp_path / "a" / "b")
    for path in paths:
        assert path.read_bytes().startswith(b"RIFF")
    assert paths[0].read_bytes() != paths[1].read_bytes()


def test_a_result_at_hand_is_not_fetched_again(tmp_path: Path) -> None:
    """Unless its links have expired; a directory may be a str."""

    async def main() -> None:
        async with finished() as (simulator, camb):
            result = await camb.get_text_to_voice_result(RUN)
            await camb.download_previews(result, str(tmp_path))
            assert 1 == results_asked(simulator)

    run(main())


def test_at_most_four_previews_are_fetched_at_once(tmp_path: Path) -> None:
    """Four are under way together, and the others follow."""

    async def main() -> None:
        waiting, most, together = 0, 0, asyncio.Event()

        async def serve(_target: str, writer: asyncio.StreamWriter) -> None:
            nonlocal waiting, most
            waiting += 1
            most = max(most, waiting)
            if waiting == 4:
                together.set()
            await together.wait()
            waiting -= 1
            writer.write(answer(TUNE, AUDIO))

        async with raw_server(serve) as server:
            links = [f"{server.origin}/{number}" for number in range(10)]
            async with behind(*links) as camb:
                paths = await camb.download_previews(RUN, tmp_path)
        assert [tmp_path / f"7-{number}.mp3" for number in range(1, 11)] == paths
        assert 4 == most

    run(main())


def test_progress_is_told_as_it_is_made(tmp_path: Path) -> None:
    """Per preview it only grows, and the last word is the path."""
    told: list[DownloadProgress] = []

    async def main() -> list[Path]:
        async with finished() as (_, camb):
            return await camb.download_previews(RUN, tmp_path, on_progress=told.append)

    paths = run(main())

    for index, path in enumerate(paths):
        mine = [progress for progress in told if progress.index == index]
        *before, last = mine
        received = [progress.received for progress in mine]
        assert sorted(received) == received
        assert before
        assert all(progress.path is None for progress in before)
        size = path.stat().st_size
        assert (
            DownloadProgress(
                run_id=RUN, index=index, count=2, received=size, total=size, path=path
            )
            == last
        )
        assert {size} == {progress.total for progress in mine}


def test_progress_without_a_length_has_no_total_until_the_end(tmp_path: Path) -> None:
    """In chunks, nobody knows how many bytes there will be."""
    told: list[DownloadProgress] = []

    async def serve(_target: str, writer: asyncio.StreamWriter) -> None:
        chunks = b"%x\r\n%b\r\n0\r\n\r\n" % (len(TUNE), TUNE)
        head = answer(b"", AUDIO, "Transfer-Encoding: chunked", length=-1)
        writer.write(head + chunks)

    async def main() -> None:
        async with raw_server(serve) as server, behind(server.origin) as camb:
            await camb.download_previews(RUN, tmp_path, on_progress=told.append)

    run(main())

    assert [None] * (len(told) - 1) + [len(TUNE)] == [p.total for p in told]
    assert TUNE == (tmp_path / "7-1.mp3").read_bytes()


@pytest.mark.parametrize(
    ("content_type", "body", "extension"),
    [
        ("audio/wav", b"any", ".wav"),
        ("audio/x-wav", b"any", ".wav"),
        ("audio/wave", b"any", ".wav"),
        ("audio/vnd.wave", b"any", ".wav"),
        ("audio/mpeg", b"any", ".mp3"),
        ("audio/mp3", b"any", ".mp3"),
        ("audio/flac", b"any", ".flac"),
        ("audio/x-flac", b"any", ".flac"),
        ("audio/ogg", b"any", ".ogg"),
        ("audio/mp4", b"any", ".m4a"),
        ("audio/x-m4a", b"any", ".m4a"),
        ("audio/aac", b"any", ".aac"),
        ("audio/webm", b"any", ".webm"),
        ("AUDIO/Mpeg; charset=utf-8", b"any", ".mp3"),
        ("application/octet-stream", WAV, ".wav"),
        ("binary/octet-stream", b"ID3\x04", ".mp3"),
        ("application/octet-stream", b"\xff\xfb\x90", ".mp3"),
        ("application/octet-stream", b"\xff\xf3\x90", ".mp3"),
        ("", b"fLaC\x00", ".flac"),
        ("", b"OggS\x00", ".ogg"),
        ("application/octet-stream", b"who knows", ".bin"),
        ("../../etc/passwd", b"any", ".bin"),
        ("audio/", b"any", ".bin"),
        ("text/plain", WAV, ".bin"),
    ],
)
def test_the_extension_is_that_of_the_content_type(
    tmp_path: Path, content_type: str, body: bytes, extension: str
) -> None:
    """Storage that does not know its files is helped out by how they begin."""

    async def main() -> None:
        async with finished() as (simulator, camb):
            simulator.fail(file(body, content_type), times=None, path=PREVIEWS)
            await camb.download_previews(RUN, tmp_path)

    run(main())

    assert [f"7-1{extension}", f"7-2{extension}"] == names(tmp_path)
    assert body == (tmp_path / f"7-1{extension}").read_bytes()


def test_bytes_that_come_singly_are_known_by_their_beginning(tmp_path: Path) -> None:
    """The first bytes may be all a first read brings."""

    async def serve(_target: str, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(b"", "Content-Type: binary/octet-stream", length=-1))
        for byte in WAV[:20]:
            writer.write(bytes((byte,)))
            await writer.drain()
            await asyncio.sleep(0.001)
        writer.write(WAV[20:])

    async def main() -> None:
        async with raw_server(serve) as server, behind(server.origin) as camb:
            await camb.download_previews(RUN, tmp_path)

    run(main())

    assert WAV == (tmp_path / "7-1.wav").read_bytes()


def test_other_files_are_no_hindrance(tmp_path: Path) -> None:
    """Notes beside the previews, previews of another run."""
    for name in ("7-1.txt", "17-1.wav", "7-1.wav.bak", "7-11.wav"):
        (tmp_path / name).write_bytes(b"old")

    async def main() -> None:
        async with finished() as (_, camb):
            await camb.download_previews(RUN, tmp_path)

    run(main())

    assert 6 == len(names(tmp_path))


def test_links_that_come_back_the_same_are_not_tried_again(tmp_path: Path) -> None:
    """They are what was refused."""

    async def main() -> None:
        async with finished() as (simulator, camb):
            simulator.fail("403", times=None, path=PREVIEWS)
            with pytest.raises(LinkExpiredError):
                await camb.download_previews(RUN, tmp_path)
            assert 2 == results_asked(simulator)
            assert 2 >= len(fetched(simulator))

    run(main())


def test_a_preview_that_is_gone_from_the_fresh_result_is_told(tmp_path: Path) -> None:
    """The run has fewer previews than it had."""

    async def main() -> None:
        async with finished() as (simulator, camb):
            result = await camb.get_text_to_voice_result(RUN)
            fewer = Fault("bad_previews", previews=result.previews[:1])
            simulator.fail(fewer, path=RESULT)
            old = (result.previews[0], result.previews[1] + "&old")
            with pytest.raises(LinkExpiredError, match="Preview 2 is gone from run 7"):
                await camb.download_previews(TextToVoiceResult(RUN, old), tmp_path)

    run(main())


def test_links_that_cannot_be_fetched_again_are_an_error(tmp_path: Path) -> None:
    """It is the one of the result, as if it had been asked for."""

    async def main() -> None:
        async with finished() as (simulator, camb):
            result = await camb.get_text_to_voice_result(RUN)
            simulator.expire_links()
            simulator.fail("html_200", times=None, path=RESULT)
            with pytest.raises(InvalidResponseError):
                await camb.download_previews(result, tmp_path)

    run(main())


def test_a_run_of_too_many_previews_is_refused(tmp_path: Path) -> None:
    """Half a gigabyte each would fill any disk; the error names the cap."""
    links = ("https://files.example/x",) * 101

    async def main() -> None:
        async with behind(*links) as camb:
            with pytest.raises(DownloadError, match="101 previews; 100 are the most"):
                await camb.download_previews(RUN, tmp_path / "new")

    run(main())

    assert [] == names(tmp_path)


def test_a_directory_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    """There is a file in its place."""
    (tmp_path / "file").write_bytes(b"")

    async def main() -> None:
        async with finished() as (_, camb):
            with pytest.raises(DownloadError, match="Not a directory"):
                await camb.download_previews(RUN, tmp_path / "file" / "below")

    run(main())


def test_what_was_complete_stays_when_another_fails(tmp_path: Path) -> None:
    """One error, not a group, and the good file."""

    async def main() -> None:
        first = asyncio.Event()

        async def serve(target: str, writer: asyncio.StreamWriter) -> None:
            if target == "/bad":
                await first.wait()
                writer.write(answer(b"", status="404 Not Found"))
            else:
                writer.write(answer(TUNE, AUDIO))

        def told(progress: DownloadProgress) -> None:
            if progress.path is not None:
                first.set()

        async with raw_server(serve) as server:
            two = (f"{server.origin}/good", f"{server.origin}/bad")
            async with behind(*two) as camb:
                with pytest.raises(DownloadError, match="404") as caught:
                    await camb.download_previews(RUN, tmp_path, on_progress=told)
                assert caught.value.__context__ is None

    run(main())

    assert ["7-1.mp3"] == names(tmp_path)
