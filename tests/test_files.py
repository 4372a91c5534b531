"""Files that appear whole or not at all, on a real disk."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from camb_async import DownloadError, _files
from camb_async._files import NewFile, refuse_existing

from .helpers import run


class FaultyDisk:
    """The module ``os``, but one of its functions fails or does less."""

    def __init__(self, name: str, replacement: Callable[..., Any]) -> None:
        self._name = name
        self._replacement = replacement

    def __getattr__(self, name: str) -> Any:
        return self._replacement if name == self._name else getattr(os, name)


def failing(code: int) -> Callable[..., Any]:
    """Return a function that always fails with this errno."""

    def fail(*_args: object) -> None:
        raise OSError(code, os.strerror(code))

    return fail


def listing(directory: Path) -> dict[str, int]:
    """Return the files of a directory and their sizes."""
    return {path.name: path.stat().st_size for path in directory.iterdir()}


async def write(
    directory: Path, data: bytes = b"some bytes", *, overwrite: bool = False
) -> Path:
    """Write a file in one go."""
    async with NewFile(directory) as file:
        await file.write(data)
        return await file.publish("7-1.wav", overwrite=overwrite)


def test_a_file_appears_when_it_is_published(tmp_path: Path) -> None:
    """Until then there is one of another name, and afterwards no other."""

    async def main() -> None:
        async with NewFile(tmp_path) as file:
            await file.write(b"x" * 300_000)
            await file.write(b"y")
            ((part, size),) = listing(tmp_path).items()
            assert part.startswith(".camb-")
            assert 300_000 == size
            await file.publish("7-1.wav", overwrite=False)
            assert {"7-1.wav": 300_001} == listing(tmp_path)

    run(main())

    assert b"x" * 300_000 + b"y" == (tmp_path / "7-1.wav").read_bytes()


def test_the_directory_is_made(tmp_path: Path) -> None:
    """With all that is above it."""
    path = run(write(tmp_path / "a" / "b"))

    assert tmp_path / "a" / "b" / "7-1.wav" == path


def test_new_files_obey_the_umask(tmp_path: Path) -> None:
    """Like any file that is created by a program."""
    before = os.umask(0o027)
    try:
        path = run(write(tmp_path))
    finally:
        os.umask(before)

    assert 0o640 == path.stat().st_mode & 0o777


def test_nothing_is_left_of_a_file_that_is_given_up(tmp_path: Path) -> None:
    """Whatever happened inside the block."""

    async def main() -> None:
        async with NewFile(tmp_path) as file:
            await file.write(b"x")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(main())

    assert [] == list(tmp_path.iterdir())


def make_file(path: Path) -> None:
    """Put a file there."""
    path.write_bytes(b"old")


def make_symlink(path: Path) -> None:
    """Put a link to a file of another directory there."""
    (path.parent / "elsewhere").mkdir()
    make_file(path.parent / "elsewhere" / "victim")
    path.symlink_to(path.parent / "elsewhere" / "victim")


def make_dangling_symlink(path: Path) -> None:
    """Put a link to nowhere there."""
    path.symlink_to(path.parent / "nowhere")


MAKERS = pytest.mark.parametrize(
    "make", [make_file, make_symlink, make_dangling_symlink]
)


@MAKERS
@pytest.mark.parametrize("links_work", [True, False])
def test_what_is_there_is_not_touched(
    make: Callable[[Path], None],
    links_work: bool,  # noqa: FBT001
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also where the file system knows no hard links; the error names the file."""
    target = tmp_path / "7-1.wav"
    make(target)
    before = target.lstat()
    if not links_work:
        monkeypatch.setattr(Path, "hardlink_to", failing(errno.EPERM))

    with pytest.raises(DownloadError, match=r"7-1\.wav is there already") as caught:
        run(write(tmp_path))

    assert isinstance(caught.value.__cause__, FileExistsError)
    assert before == target.lstat()
    assert not list(tmp_path.glob(".camb-*"))
    assert not (tmp_path / "nowhere").exists()


@MAKERS
def test_overwriting_replaces_the_name_itself(
    make: Callable[[Path], None], tmp_path: Path
) -> None:
    """A symbolic link is replaced, and what it leads to is not touched."""
    target = tmp_path / "7-1.wav"
    make(target)

    run(write(tmp_path, overwrite=True))

    assert not target.is_symlink()
    assert b"some bytes" == target.read_bytes()
    assert not (tmp_path / "nowhere").exists()
    for victim in tmp_path.glob("elsewhere/*"):
        assert b"old" == victim.read_bytes()


def test_overwriting_is_atomic(tmp_path: Path) -> None:
    """A reader sees the old file or the new one, and never none or a part."""
    target = run(write(tmp_path, b"0" * 100_000))
    seen: set[bytes] = set()
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            content = target.read_bytes()
            seen.add(content[:1])
            assert 100_000 == len(content)

    async def main() -> None:
        looking = asyncio.create_task(asyncio.to_thread(look))
        for number in range(1, 10):
            await write(tmp_path, b"%d" % number * 100_000, overwrite=True)
        done.set()
        await looking

    run(main())

    assert seen


def test_a_file_system_without_links_will_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is moved to where nothing is."""
    monkeypatch.setattr(Path, "hardlink_to", failing(errno.EOPNOTSUPP))

    path = run(write(tmp_path))

    assert [path] == list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("function", "code"),
    [
        ("open", errno.EACCES),
        ("open", errno.EROFS),
        ("write", errno.ENOSPC),
        ("write", errno.EDQUOT),
        ("fsync", errno.EIO),
        ("close", errno.EIO),
    ],
)
def test_a_failing_disk_is_told_and_nothing_is_left(
    function: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a DownloadError whose cause is what the disk said."""
    descriptors: list[int] = []
    fail = failing(code)

    def close_then_fail(descriptor: int) -> None:
        os.close(descriptor)
        descriptors.append(descriptor)
        fail()

    replacement = close_then_fail if function == "close" else fail
    monkeypatch.setattr(_files, "os", FaultyDisk(function, replacement))
    with pytest.raises(DownloadError, match="could not be written") as caught:
        run(write(tmp_path, b"x" * 300_000))

    assert isinstance(caught.value.__cause__, OSError)
    assert code == caught.value.__cause__.errno
    assert [] == list(tmp_path.iterdir())
    assert len(set(descriptors)) == len(descriptors)


def test_a_short_write_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The operating system may take less than it was given."""

    def write_some(descriptor: int, data: memoryview) -> int:
        return os.write(descriptor, data[:1000])

    monkeypatch.setattr(_files, "os", FaultyDisk("write", write_some))
    content = os.urandom(300_000)

    path = run(write(tmp_path, content))

    assert content == path.read_bytes()


def test_a_directory_that_cannot_be_synced_is_fine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is in its place by then."""

    def sync_files_only(descriptor: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):  # noqa: PTH112
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        os.fsync(descriptor)

    monkeypatch.setattr(_files, "os", FaultyDisk("fsync", sync_files_only))

    assert run(write(tmp_path)).exists()


def test_a_file_in_place_of_the_directory_is_told(tmp_path: Path) -> None:
    """It is no file of that name that is in the way."""
    (tmp_path / "file").write_bytes(b"")
    for directory in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(DownloadError, match="Not a directory"):
            run(write(directory, overwrite=True))


def test_a_directory_in_place_of_the_file_is_told(tmp_path: Path) -> None:
    """It is not replaced by anything."""
    (tmp_path / "7-1.wav").mkdir()
    for overwrite in (False, True):
        with pytest.raises(DownloadError):
            run(write(tmp_path, overwrite=overwrite))

    assert [tmp_path / "7-1.wav"] == list(tmp_path.iterdir())


def test_a_part_that_cannot_be_removed_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What went wrong before is what is raised."""
    monkeypatch.setattr(Path, "unlink", failing(errno.EACCES))

    async def main() -> None:
        async with NewFile(tmp_path):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(main())


def test_an_error_that_is_no_disks_is_passed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bug is not called a full disk."""

    def fail(*_args: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(_files, "os", FaultyDisk("fsync", fail))
    with pytest.raises(ZeroDivisionError):
        run(write(tmp_path))


def test_existing_files_are_found(tmp_path: Path) -> None:
    """Those of these names only, symbolic links to nowhere included."""
    names = ["7-1.wav", "7-1.mp3"]
    (tmp_path / "7-1.txt").write_bytes(b"")
    run(refuse_existing(tmp_path, names))
    run(refuse_existing(tmp_path / "nowhere", names))
    (tmp_path / "7-1.mp3").symlink_to(tmp_path / "nowhere")

    with pytest.raises(DownloadError, match=r"7-1\.mp3 is there already"):
        run(refuse_existing(tmp_path, names))


STEPS = ["open", "write", "fsync"]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("fails", [False, True], ids=["works", "fails"])
@pytest.mark.parametrize("way", ["task", "twice", "scope"])
def test_a_cancelled_write_waits_for_its_thread(
    way: str,
    step: str,
    fails: bool,  # noqa: FBT001
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No part is left, no descriptor stays open, no cancellation is lost."""
    entered, proceed = threading.Event(), threading.Event()
    descriptors = len(os.listdir("/proc/self/fd"))  # noqa: PTH208

    def stall(*args: Any) -> Any:
        entered.set()
        proceed.wait(10)
        if fails:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return getattr(os, step)(*args)

    monkeypatch.setattr(_files, "os", FaultyDisk(step, stall))

    async def main() -> None:
        scope = anyio.CancelScope()

        async def work() -> None:
            with scope:
                await write(tmp_path, b"x" * 300_000)

        task = asyncio.create_task(work())
        await asyncio.to_thread(entered.wait, 10)
        if way == "scope":
            scope.cancel()
        else:
            task.cancel()
        for _ in range(3):
            await asyncio.sleep(0)
            assert not task.done()
            if way == "twice":
                task.cancel()
        proceed.set()
        await asyncio.wait([task])
        assert (way != "scope") is task.cancelled()
        assert scope.cancelled_caught is (way == "scope")

    run(main())

    assert descriptors == len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    published = tmp_path / "7-1.wav"
    assert [published] * published.exists() == list(tmp_path.iterdir())
    if published.exists():
        assert 300_000 == published.stat().st_size
