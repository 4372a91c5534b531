"""The journal: the file from which the same command goes on."""

from __future__ import annotations

import asyncio
import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from .ledger import Event, JournalError, Ledger, dump, intact, replay


class Journal:
    """A journal on the disk, which one process at a time may have open.

    ``note`` hands a line to the system at once, so that not even a kill loses it;
    ``sync`` waits until it would survive a power cut, too. Those who wait at the
    same time share one fsync.

    Raises:
        JournalError: another process has it, or it is damaged.
        OSError: the file cannot be opened or written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1
        self._written = self._synced = 0
        self._syncing = asyncio.Lock()
        self.ledger = Ledger()

    def __enter__(self) -> Self:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._descriptor = os.open(self._path, flags, 0o644)
        try:
            self._lock()
            self._read()
            _sync_directory(self._path.parent)
        except BaseException:
            os.close(self._descriptor)
            raise
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            os.fsync(self._descriptor)
        finally:
            os.close(self._descriptor)

    def note(self, event: Event) -> None:
        """Write down that something happened, or is about to."""
        self.ledger.apply(event)
        size = os.fstat(self._descriptor).st_size
        rest = memoryview(dump(event))
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError:
            # Half a line (the disk is full) must not get another one behind it.
            os.ftruncate(self._descriptor, size)
            raise
        self._written += 1

    async def sync(self) -> None:
        """Wait until all that was noted so far is on the disk."""
        wanted = self._written
        async with self._syncing:
            if self._synced < wanted:
                covered = self._written
                await asyncio.to_thread(os.fsync, self._descriptor)
                self._synced = covered

    def _lock(self) -> None:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            message = (
                f"{self._path} is in use: another process works on this batch. Wait "
                "for it, or choose another directory"
            )
            raise JournalError(message) from error

    def _read(self) -> None:
        content = self._path.read_bytes()
        size = intact(content)
        self.ledger = replay(content[:size].splitlines())
        if size < len(content):
            os.ftruncate(self._descriptor, size)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
