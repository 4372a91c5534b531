"""One preview from one link: whole, and from nowhere but where it may come from."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from camb_async import (
    CambSession,
    DownloadError,
    TextToVoiceResult,
    _fetching,
)
from camb_async.simulator import Fault

from .downloading import (
    AUDIO,
    ONE_TRY,
    PREVIEWS,
    RUN,
    TUNE,
    TWO_TRIES,
    behind,
    fetched,
    file,
    finished,
    names,
    results_asked,
)
from .helpers import run
from .raw_server import answer, raw_server


CUTS = [
    *("reset_mid_body", "reset", "disconnect", "garbage", "500", "502_html", "503"),
    *("504_html", "429", "408", Fault("http", status=425)),
    Fault("http", status=522),
    Fault("http", status=200, body=b"", headers={"Content-Type": "audio/wav"}),
]


@pytest.mark.parametrize("fault", CUTS, ids=str)
def test_a_try_that_fails_is_made_again(tmp_path: Path, fault: Fault | str) -> None:
    """Nothing cut is ever published, and the next try brings the whole."""
    seen: list[str] = []

    async def main() -> None:
        async with finished() as (simulator, camb):
            await camb.download_previews(RUN, tmp_path / "good")
            simulator.fail(fault, times=6, path=PREVIEWS)
            await camb.download_previews(
                RUN,
                tmp_path / "new",
                on_progress=lambda _: seen.extend(names(tmp_path / "new")),
            )
            assert 8 <= len(fetched(simulator))

    run(main())

    assert names(tmp_path / "good") == names(tmp_path / "new")
    for name in names(tmp_path / "new"):
        whole = (tmp_path / "good" / name).read_bytes()
        assert whole == (tmp_path / "new" / name).read_bytes()
    assert any(name.endswith(".part") for name in seen)


@pytest.mark.parametrize("fault", CUTS, ids=str)
def test_tries_come_to_an_end(tmp_path: Path, fault: Fault | str) -> None:
    """With nothing left on the disk, and no signature in what is raised."""

    async def main() -> None:
        async with finished(retry=TWO_TRIES) as (simulator, camb):
            simulator.fail(fault, times=None, path=PREVIEWS)
            with pytest.raises(DownloadError, match="This was try 2") as caught:
                await camb.download_previews(RUN, tmp_path)
            assert DownloadError is type(caught.value)
            cause: BaseException | None = caught.value
            while cause is not None:
                assert "Signature" not in f"{cause} {cause!r}"
                cause = cause.__cause__
            # aiohttp asks once more by itself when there is no answer at all.
            assert 8 >= len(fetched(simulator))

    run(main())

    assert [] == names(tmp_path)


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("html_200", "captive portal"),
        (file(b"{}", "application/json; charset=utf-8"), "application/json"),
        (file(TUNE, "audio/mpeg", Content_Encoding="gzip"), "gzip"),
        ("204", "204"),
        ("404", "404"),
        ("400", "400"),
        (Fault("http", status=206, body=TUNE), "206"),
        (Fault("http", status=302), "302"),
        (Fault("http", status=304, headers={"Location": "/"}), "304"),
    ],
    ids=str,
)
def test_what_is_no_file_is_refused_at_once(
    tmp_path: Path, fault: Fault | str, says: str
) -> None:
    """Another try would bring the same."""

    async def main() -> None:
        async with finished() as (simulator, camb):
            simulator.fail(fault, times=None, path=PREVIEWS)
            with pytest.raises(DownloadError, match=says):
                await camb.download_previews(RUN, tmp_path)
            assert 2 >= len(fetched(simulator))
            assert 1 == results_asked(simulator)

    run(main())

    assert [] == names(tmp_path)


def test_a_file_that_was_not_encoded_says_so(tmp_path: Path) -> None:
    """``identity`` is no encoding."""

    async def main() -> None:
        async with finished() as (simulator, camb):
            plain = file(TUNE, "audio/mpeg", Content_Encoding="Identity")
            simulator.fail(plain, times=None, path=PREVIEWS)
            await camb.download_previews(RUN, tmp_path)

    run(main())

    assert TUNE == (tmp_path / "7-1.mp3").read_bytes()


def test_a_name_that_takes_for_ever_to_resolve_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The operating system may take minutes; nothing is left running."""
    monkeypatch.setattr(_fetching, "IDLE_TIMEOUT", 0.1)

    async def resolve(*_args: object) -> list[Any]:
        await asyncio.Event().wait()
        return []

    async def main() -> None:
        monkeypatch.setattr(aiohttp.ThreadedResolver, "resolve", resolve)
        async with CambSession("key", retry=ONE_TRY) as camb:
            result = TextToVoiceResult(RUN, ("https://files.example/x",))
            with pytest.raises(DownloadError, match="TimeoutError"):
                await camb.download_previews(result, tmp_path)

    run(main())


def test_a_name_that_does_not_resolve_is_tried_again(tmp_path: Path) -> None:
    """For real: the name is one that never exists."""

    async def main() -> None:
        async with CambSession("key", retry=TWO_TRIES) as camb:
            result = TextToVoiceResult(RUN, ("https://no.such.host.invalid/x",))
            with pytest.raises(DownloadError, match="This was try 2"):
                await camb.download_previews(result, tmp_path)

    run(main())


@pytest.mark.parametrize("status", ["301", "302", "303", "307", "308"])
def test_redirects_are_followed(tmp_path: Path, status: str) -> None:
    """To another port, and to a path beside the one that was asked for."""

    async def main() -> None:
        async def serve(target: str, writer: asyncio.StreamWriter) -> None:
            hops = {"/a/1": "b?%2B", "/a/b?%2B": f"{other.origin}/c"}
            if target in hops:
                hop = f"Location: {hops[target]}"
                writer.write(answer(b"moved", hop, status=f"{status} Moved"))
            else:
                writer.write(answer(TUNE, AUDIO))

        async with raw_server(serve) as server, raw_server(serve) as other:
            async with behind(f"{server.origin}/a/1") as camb:
                await camb.download_previews(RUN, tmp_path)
            assert ["/a/1", "/a/b?%2B"] == server.targets
            assert ["/c"] == other.targets

    run(main())

    assert TUNE == (tmp_path / "7-1.mp3").read_bytes()


@pytest.mark.parametrize("location", ["/again", "", "?x"])
def test_redirects_in_a_circle_come_to_an_end(tmp_path: Path, location: str) -> None:
    """After five of them."""

    async def serve(_target: str, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(b"", f"Location: {location}", status="302 Found"))

    async def main() -> None:
        async with raw_server(serve) as server, behind(server.origin) as camb:
            with pytest.raises(DownloadError, match="more than 5 times"):
                await camb.download_previews(RUN, tmp_path)
            assert 6 == len(server.heads)

    run(main())


@pytest.mark.parametrize(
    "location",
    ["http://[::1", "http://h:port/", "//[", "//[]x@", "/é", "http://a\\@b/"],
)
def test_a_redirect_to_nonsense_is_an_error(tmp_path: Path, location: str) -> None:
    """Of ours, and not one of a URL library."""

    async def serve(_target: str, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(b"", f"Location: {location}", status="302 Found"))

    async def main() -> None:
        async with raw_server(serve) as server, behind(server.origin) as camb:
            with pytest.raises(DownloadError):
                await camb.download_previews(RUN, tmp_path)
            assert 1 == len(server.heads)

    run(main())
