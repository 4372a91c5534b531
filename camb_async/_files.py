"""Files that appear under their name whole, or not at all."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from secrets import token_hex
from types import TracebackType
from typing import Self, TypeVar

from .errors import DownloadError


_WRITE_SIZE = 256 * 1024

_ReturnT = TypeVar("_ReturnT")


class NewFile:
    """A file being written beside its future place. Use it as ``async with``.

    Disk access happens in threads, and every failure of it is a DownloadError.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._part: Path | None = None
        self._descriptor: int | None = None
        self._buffer = bytearray()

    async def __aenter__(self) -> Self:
        try:
            await _on_disk(self._open)
        except BaseException:
            self._discard()
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._discard()

    async def write(self, data: bytes) -> None:
        """Append to the file.

        Raises:
            DownloadError: it cannot be written.
        """
        self._buffer += data
        if len(self._buffer) >= _WRITE_SIZE:
            await _on_disk(self._flush)

    async def publish(self, name: str, *, overwrite: bool) -> Path:
        """Give the file its name, once all of it is on the disk.

        Returns:
            Where it is now.

        Raises:
            DownloadError: it cannot be written, or there is one of that name and
                not ``overwrite``.
        """
        target = self._directory / name
        await _on_disk(lambda: self._publish(target, overwrite=overwrite))
        return target

    def _open(self) -> None:
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
        except FileExistsError as error:
            code = errno.ENOTDIR
            raise NotADirectoryError(code, os.strerror(code), error.filename) from None
        part = self._directory / f".camb-{token_hex(8)}.part"
        self._descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        self._part = part

    def _flush(self) -> None:
        assert self._descriptor is not None  # noqa: S101 - inside the block
        with memoryview(self._buffer) as rest:
            written = 0
            while written < len(rest):
                written += os.write(self._descriptor, rest[written:])
        self._buffer.clear()

    def _publish(self, target: Path, *, overwrite: bool) -> None:
        self._flush()
        assert self._descriptor is not None  # noqa: S101 - inside the block
        assert self._part is not None  # noqa: S101 - inside the block
        os.fsync(self._descriptor)
        self._close()
        if overwrite:
            self._part.replace(target)
        else:
            _move_where_nothing_is(self._part, target)
        self._part = None
        _sync_directory(self._directory)

    def _close(self) -> None:
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            os.close(descriptor)

    def _discard(self) -> None:
        # Without an await, and without an error that could take the place of a
        # cancellation: this runs while being cancelled, too.
        with contextlib.suppress(OSError):
            self._close()
        if self._part is not None:
            with contextlib.suppress(OSError):
                self._part.unlink()


async def refuse_existing(directory: Path, names: Iterable[str]) -> None:
    """Look for files of these names.

    Raises:
        DownloadError: there is one.
    """

    def look() -> None:
        for name in names:
            if os.path.lexists(directory / name):
                raise _exists(directory / name)

    await _on_disk(look)


async def _on_disk(work: Callable[[], _ReturnT]) -> _ReturnT:
    """Do something in a thread.

    A thread that has begun is waited for even when the caller is cancelled, so
    that no file is closed under its writer or comes to be after it was given up.
    """
    job = asyncio.get_running_loop().run_in_executor(None, work)
    cancelled: asyncio.CancelledError | None = None
    while not job.done():
        try:
            await asyncio.wait([job])
        except asyncio.CancelledError as error:
            cancelled = error
    failure = job.exception()
    if cancelled is not None:
        raise cancelled
    if isinstance(failure, OSError):
        raise _refusal(failure) from failure
    return job.result()


def _refusal(error: OSError) -> DownloadError:
    if isinstance(error, FileExistsError):
        return DownloadError(
            f"{error.filename} is there already and was not touched: pass "
            "overwrite=True, or another directory."
        )
    return DownloadError(
        f"A preview could not be written: {error}. Make room, or pass another "
        "directory."
    )


def _exists(target: Path) -> FileExistsError:
    return FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))


def _move_where_nothing_is(part: Path, target: Path) -> None:
    # A link is refused where there is a file already, even one that came this
    # moment; where the file system has no links, looking first must do.
    try:
        target.hardlink_to(part)
    except FileExistsError:
        raise _exists(target) from None
    except OSError:
        if os.path.lexists(target):
            raise _exists(target) from None
        part.replace(target)
    else:
        part.unlink()


def _sync_directory(directory: Path) -> None:
    # The file is in its place by now, so what cannot be done here is no failure:
    # not every file system syncs directories, nor may each be opened.
    with contextlib.suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
