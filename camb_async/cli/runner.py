"""Run one command: its signals, its errors, its broken pipes, its exit code."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncGenerator, Callable, Coroutine
from types import FrameType
from typing import Any

from camb_async import CambError

from .exits import ExitCode, code_of_error
from .screen import Screen


_SIGNALS = {
    signal.SIGINT: ExitCode.INTERRUPTED,
    signal.SIGTERM: ExitCode.TERMINATED,
}

Command = Callable[[], Coroutine[Any, Any, int]]


def run(command: Command, screen: Screen) -> int:
    """Run a command in an event loop of its own and return its exit code.

    A signal cancels the command, which may say goodbye; the second one kills.
    """
    try:
        return asyncio.run(_until_signal(command))
    except BrokenPipeError:
        silence()
        return ExitCode.BROKEN_PIPE
    except CambError as error:
        screen.complain(error)
        return code_of_error(error)
    except OSError as error:  # a command itself does no more than write
        silence()
        screen.complain(f"the output cannot be written: {error.strerror or error}")
        return ExitCode.USAGE


@contextlib.asynccontextmanager
async def beside(work: Coroutine[Any, Any, None]) -> AsyncGenerator[None, None]:
    """Do some work beside the block. Leaving the block ends it, or raises its error."""
    task = asyncio.ensure_future(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})
        if not task.cancelled():
            task.result()


async def _until_signal(command: Command) -> int:
    task = asyncio.ensure_future(command())
    received: list[signal.Signals] = []

    def stop(signum: signal.Signals) -> None:
        received.append(signum)
        signal.signal(signum, signal.SIG_DFL)
        task.cancel()

    for signum in _SIGNALS:
        _on_signal(signum, stop)
    try:
        return await task
    except asyncio.CancelledError:
        if not received:
            raise
        return _SIGNALS[received[0]]


def _on_signal(
    signum: signal.Signals, callback: Callable[[signal.Signals], None]
) -> None:
    loop = asyncio.get_running_loop()
    try:
        loop.add_signal_handler(signum, callback, signum)
    except NotImplementedError:  # pragma: no cover - the event loops of Windows

        def wake_loop(_number: int, _frame: FrameType | None) -> None:
            loop.call_soon_threadsafe(callback, signum)

        signal.signal(signum, wake_loop)


def silence() -> None:
    """Send what is still unwritten to nowhere: nobody reads it any more."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            with contextlib.suppress(OSError, ValueError):
                os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
