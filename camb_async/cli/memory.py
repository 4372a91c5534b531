"""What was learnt of how long tasks take, kept from one run to the next.

There is one small file for each service, in the user's directory for state. It is a
comfort and no more: whatever is wrong with it costs one line of talk, and never the
command.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
import tempfile
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import attrs
from platformdirs import user_state_path

from camb_async import AdaptiveSchedule

from .screen import Screen


_BYTES_MAX = 2**20
_UNNAMEABLE = re.compile(r"[^a-z0-9.-]+")


@contextlib.contextmanager
def remembering(
    base_url: str, screen: Screen, *, wanted: bool | None
) -> Generator[AdaptiveSchedule]:
    """Yield a schedule that knows what was learnt of a service, and keep the rest.

    ``wanted`` None leaves out services on this machine: most are simulated, and
    come and go with their ports.
    """
    path = _path_for(base_url)
    # A session takes plain http from nowhere but this machine.
    by_default = urlsplit(base_url).scheme != "http"
    if path is None or not (by_default if wanted is None else wanted):
        yield AdaptiveSchedule()
        return
    memory = Memory(path, screen)
    schedule = memory.recall()
    known = schedule.to_dict()
    try:
        yield schedule
    finally:
        learnt = schedule.to_dict()
        if learnt != known:
            memory.keep(learnt)


def _path_for(base_url: str) -> Path | None:
    """Return where the memory of a service is; None where there is no place for it."""
    host = urlsplit(base_url).netloc.lower().removesuffix(":443")
    origin = _UNNAMEABLE.sub("_", host)
    try:
        directory = user_state_path("camb-async", appauthor=False)
    except RuntimeError:  # a user without a home
        return None
    # Earlier releases of platformdirs name one in the current directory then.
    return directory / f"durations-{origin}.json" if directory.is_absolute() else None


@attrs.define
class Memory:
    """One file. What cannot be used is told once, in one line."""

    path: Path
    screen: Screen
    _untouchable: bool = attrs.field(default=False, init=False)

    def recall(self) -> AdaptiveSchedule:
        """Return a schedule that knows what was kept; a new one if that fails."""
        try:
            data = json.loads(_read(self.path))
            self._untouchable = _is_newer(data)
            return AdaptiveSchedule.from_dict(data)
        except FileNotFoundError:
            pass
        except OSError as error:
            self._untouchable = True
            self._tell("cannot be read", error.strerror or error)
        except (ValueError, RecursionError) as error:
            self._tell("cannot be used", error)
        return AdaptiveSchedule()

    def keep(self, learnt: Mapping[str, Any]) -> None:
        """Write what was learnt, as a whole or not at all."""
        if self._untouchable:
            return
        try:
            _write(self.path, json.dumps(learnt, separators=(",", ":")))
        except OSError as error:
            self._tell("cannot be kept", error.strerror or error)

    def _tell(self, what: str, why: object) -> None:
        self.screen.complain(
            f"what was learnt of durations {what} (it goes on without): "
            f"{self.path}: {why}"
        )


def _is_newer(data: object) -> bool:
    """Return whether a later release wrote this: it must find it as it was."""
    if not isinstance(data, dict):
        return False
    version = cast("dict[str, object]", data).get("version")
    own: int = AdaptiveSchedule().to_dict()["version"]
    return isinstance(version, int) and version > own


def _read(path: Path) -> bytes:
    # A pipe in its place must not be waited for.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            message = "it is no regular file"
            raise OSError(message)
        data = file.read(_BYTES_MAX + 1)
    if len(data) > _BYTES_MAX:
        message = f"it has more than {_BYTES_MAX:,} bytes"
        raise ValueError(message)
    return data


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Readable for its owner only, and never seen under its name before it is whole.
    descriptor, part = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        Path(part).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(part).unlink()
        raise
