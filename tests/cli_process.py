"""Run the command line as a process of its own, as its users do."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import pty
import re
import struct
import sys
import termios
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import attrs

from camb_async.simulator import Simulator


#: Nothing that a process writes may ever contain this.
CANARY = "canary-5f0c1b7e-never-show-me"
#: What a terminal takes as anything but text.
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
COMMAND = (sys.executable, "-m", "camb_async")

#: What has a process tell which lines it ran, where coverage is measured.
_COVERAGE = {k: v for k, v in os.environ.items() if k == "COVERAGE_PROCESS_CONFIG"}
_ROOT = Path(__file__).parent.parent
_SIZE = struct.pack("HHHH", 30, 100, 0, 0)


@attrs.frozen
class Ended:
    """How a process ended, and what it wrote."""

    code: int | None
    out: str
    err: str

    def lines(self) -> list[str]:
        """Return the lines on stdout."""
        return self.out.splitlines()

    def objects(self) -> list[dict[str, Any]]:
        """Return the JSON objects on stdout, one a line."""
        return [json.loads(line) for line in self.lines()]


def environment(simulator: Simulator | None = None, **extra: str) -> dict[str, str]:
    """Return the environment of a process that is to talk to this simulator."""
    ours = ("CAMB_", "NO_COLOR", "FORCE_COLOR", "TTY_", "COLUMNS", "LINES")
    kept = {name: v for name, v in os.environ.items() if not name.startswith(ours)}
    kept |= {"PYTHONPATH": str(_ROOT), "TERM": "xterm-256color"} | _COVERAGE
    if simulator is not None:
        kept |= {"CAMB_BASE_URL": simulator.base_url, "CAMB_API_KEY": simulator.api_key}
    return kept | extra


@contextlib.asynccontextmanager
async def started(
    *args: str,
    env: dict[str, str],
    stdin: int = asyncio.subprocess.PIPE,
    stdout: int = asyncio.subprocess.PIPE,
) -> AsyncGenerator[asyncio.subprocess.Process, None]:
    """Yield a running process, which does not outlive the block."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        *args,
        env=env,
        stdin=stdin,
        stdout=stdout,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def finish(process: asyncio.subprocess.Process, stdin: str = "") -> Ended:
    """Wait for the end of a process and return how it ended."""
    given = None if process.stdin is None else stdin.encode()
    out, err = await process.communicate(given)
    ended = Ended(process.returncode, (out or b"").decode(), err.decode())
    assert CANARY not in ended.out + ended.err
    assert "Traceback" not in ended.err, ended.err
    assert "was destroyed" not in ended.err

    return ended


async def run(
    *args: str, simulator: Simulator | None = None, stdin: str = "", **extra: str
) -> Ended:
    """Run a command to its end."""
    async with started(*args, env=environment(simulator, **extra)) as process:
        return await finish(process, stdin)


async def run_in_terminal(
    *args: str, simulator: Simulator | None = None, **extra: str
) -> tuple[int, str]:
    """Run a command on a terminal of 30 lines; return its code and all it wrote."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, _SIZE)
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        *args,
        env=environment(simulator, **extra),
        stdin=slave,
        stdout=slave,
        stderr=slave,
    )
    os.close(slave)
    written = await asyncio.to_thread(_read_all, master)
    os.close(master)
    return await process.wait(), written


def _read_all(descriptor: int) -> str:
    chunks: list[bytes] = []
    # A terminal ends with an error instead of with an empty read.
    with contextlib.suppress(OSError):
        while chunk := os.read(descriptor, 65536):
            chunks.append(chunk)
    return b"".join(chunks).decode()
