"""Files that appear under their name whole, or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from secrets import token_hex
from types import TracebackType
from typing import Self

from anyio.to_thread import run_sync


class NewFile:
    """A file being written beside its future place. Use it as ``async with``.

    Disk access happens in threads. A thread that has begun is waited for even when
    the caller is cancelled, so that no file is closed under its writer.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._part: Path | None = None
        self._descriptor: int | None = None

    async def __aenter__(self) -> Self:
        await run_sync(self._open)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # No await here: cleaning up must work while being cancelled, too.
        self._close()
        if self._part is not None:
            self._part.unlink(missing_ok=True)

    async def write(self, data: bytes) -> None:
        """Append to the file."""
        await run_sync(self._write, data)

    async def publish(self, name: str, *, overwrite: bool) -> Path:
        """Give the file its name, once all of it is on the disk.

        Returns:
            Where it is now.

        Raises:
            FileExistsError: there is one of that name, and not ``overwrite``.
        """
        return await run_sync(self._publish, self._directory / name, overwrite)

    def _open(self) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        part = self._directory / f".camb-{token_hex(8)}.part"
        self._descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        self._part = part

    def _write(self, data: bytes) -> None:
        assert self._descriptor is not None  # noqa: S101 - inside the block
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]

    def _publish(self, target: Path, overwrite: bool) -> Path:  # noqa: FBT001
        assert self._descriptor is not None  # noqa: S101 - inside the block
        assert self._part is not None  # noqa: S101 - inside the block
        os.fsync(self._descriptor)
        self._close()
        if overwrite:
            self._part.replace(target)
        else:
            _move_where_nothing_is(self._part, target)
        _sync_directory(self._directory)
        return target

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _move_where_nothing_is(part: Path, target: Path) -> None:
    # A link is refused where there is a file already, even one that came this
    # moment; where the file system has no links, looking first must do.
    try:
        target.hardlink_to(part)
    except FileExistsError:
        raise
    except OSError:
        if target.exists() or target.is_symlink():
            raise FileExistsError(target) from None
        part.replace(target)
    else:
        part.unlink()


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
