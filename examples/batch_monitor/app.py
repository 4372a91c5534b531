"""Put it together: the service, the journal, the run, and the last words."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shlex
import signal
import sys
import warnings
from collections.abc import AsyncGenerator
from functools import partial
from types import FrameType
from typing import NoReturn, cast

from rich.console import Console

from camb_async import (
    CambError,
    CambSession,
    ConfigurationError,
    Limits,
    ShortDescriptionWarning,
    store_at,
)

from .arguments import Arguments, parse_arguments
from .batch import (
    RESULTS,
    Batch,
    ExitCode,
    check_empty_of_others,
    check_same,
    is_refused_key,
)
from .display import shown
from .journal import Journal
from .ledger import JournalError, Ledger
from .monitor import Monitor, Options
from .report import Report
from .rows import Row, RowsError, read_rows
from .timeline import Timeline


JOURNAL = "journal.ndjson"

_IN_PROCESS = "the built-in simulator"
_SIMULATED = (
    "CAMB_API_KEY is not set: this runs on the built-in simulator, without cost, and "
    "its voices only hum."
)
_NO_KEY = (
    "CAMB_BASE_URL is set and CAMB_API_KEY is not: set both, or neither to run on "
    "the built-in simulator."
)
_FORGOTTEN = (
    "this batch was begun on the built-in simulator, which forgot its tasks when that "
    "process ended: choose another directory. To try out how a batch is resumed, run "
    "`camb-async simulate --port 8899` in another shell, and set what it prints"
)
_SIGNALS = {
    signal.SIGINT: ExitCode.INTERRUPTED,
    signal.SIGTERM: ExitCode.TERMINATED,
}


def run() -> int:
    """Run the command line of this process and return its exit code."""
    warnings.simplefilter("ignore", ShortDescriptionWarning)
    arguments = parse_arguments()
    try:
        rows = read_rows(arguments.rows, allow_short=arguments.allow_short)
        with Journal(arguments.out / JOURNAL) as journal:
            return asyncio.run(_run(arguments, rows, journal))
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except Exception as error:
        cause = _cause(error)
        code = _code_of(cause)
        if code is None:
            raise
        _tell(cause)
        return code


def _cause(error: Exception) -> Exception:
    """Return the error itself, without the groups that task groups wrap it in."""
    while isinstance(error, ExceptionGroup):
        error = cast("ExceptionGroup[Exception]", error).exceptions[0]
    return error


def _code_of(error: Exception) -> ExitCode | None:
    if isinstance(error, RowsError | JournalError):
        return ExitCode.USAGE
    if is_refused_key(error):
        return ExitCode.AUTHENTICATION
    return ExitCode.FAILED if isinstance(error, CambError | OSError) else None


async def _run(arguments: Arguments, rows: list[Row], journal: Journal) -> int:
    async with (
        _service(arguments, journal.ledger) as (camb, service),
        store_at(arguments.store) as store,
    ):
        check_same(rows, journal, service)
        await check_empty_of_others(store, journal)
        with Batch(rows, journal, arguments.out) as batch:
            options = Options(
                service=service,
                concurrency=arguments.concurrency,
                deadline=arguments.deadline,
                interval=arguments.interval,
                recreate_unknown=arguments.recreate_unknown,
            )
            monitor = Monitor(camb, store, batch, options)
            received = _listen(monitor)
            async with shown(batch, monitor, Console(stderr=True, highlight=False)):
                await monitor.run()
            if received:
                _say_how_to_go_on(batch, service)
                return _SIGNALS[received[0]]
            _conclude(arguments, batch, monitor)
            return monitor.exit_code()


@contextlib.asynccontextmanager
async def _service(
    arguments: Arguments, ledger: Ledger
) -> AsyncGenerator[tuple[CambSession, str], None]:
    """Yield a session, and whom it talks to."""
    limits = Limits(max_rate=arguments.max_rate)
    if os.environ.get("CAMB_API_KEY"):
        async with CambSession(limits=limits) as camb:
            yield camb, camb.base_url
        return
    if os.environ.get("CAMB_BASE_URL"):
        raise ConfigurationError(_NO_KEY)
    if ledger.service == _IN_PROCESS and any(
        progress.task is not None and not progress.is_over
        for progress in ledger.rows.values()
    ):
        raise JournalError(_FORGOTTEN)
    from camb_async.simulator import Simulator  # noqa: PLC0415 - a server, rarely run

    _tell(_SIMULATED)
    async with (
        Simulator("demo", seed=43, speed=arguments.speed) as simulator,
        CambSession(
            simulator.api_key, base_url=simulator.base_url, limits=limits
        ) as camb,
    ):
        yield camb, _IN_PROCESS


def _listen(monitor: Monitor) -> list[signal.Signals]:
    """Have the first signal end the run in good order, and the second one at once."""
    received: list[signal.Signals] = []
    loop = asyncio.get_running_loop()

    def stop(signum: signal.Signals) -> None:
        received.append(signum)
        for each in _SIGNALS:
            loop.remove_signal_handler(each)
            signal.signal(each, _leave)
        if monitor.creating:
            _tell(
                f"waiting for the answers to {monitor.creating} create calls; "
                "once more to leave at once"
            )
        monitor.interrupt()

    for signum in _SIGNALS:
        loop.add_signal_handler(signum, partial(stop, signum))
    return received


def _leave(signum: int, _frame: FrameType | None) -> NoReturn:
    """End the process as a kill does; the journal is made for that."""
    if sys.stderr.isatty():
        sys.stderr.write("\x1b[?25h\n")  # the cursor, which the display hides
        sys.stderr.flush()
    os._exit(_SIGNALS[signal.Signals(signum)])


def _conclude(arguments: Arguments, batch: Batch, monitor: Monitor) -> None:
    from .plot import draw  # noqa: PLC0415 - slow to import, and needed only here

    report = Report.of(batch)
    sys.stdout.write("\n".join(report.lines()) + "\n")
    sys.stdout.flush()
    draw(Timeline.of(batch.ledger), arguments.plot)
    _tell(f"results: {arguments.out / RESULTS}, picture: {arguments.plot}")
    if monitor.trouble is not None:
        _tell(f"no more was created: {monitor.trouble.error}")
    if report.tally.unanswered:
        _tell(
            f"{report.tally.unanswered} rows may have a task: look in the studio for "
            "projects of their names. --recreate-unknown sends them again"
        )
    if batch.left():
        _tell(f"to go on with {len(batch.left())} rows: {command()}")


def _say_how_to_go_on(batch: Batch, service: str) -> None:
    if service == _IN_PROCESS:
        _tell("interrupted, and the simulator has forgotten its tasks")
    else:
        count = len(batch.left())
        _tell(f"interrupted; to go on with the {count} rows left: {command()}")


def command() -> str:
    """Return how this process was started, without the password of a DSN."""
    return re.sub(r"(://[^\s:/@]*):[^\s@]*@", r"\1:...@", shlex.join(sys.orig_argv))


def _tell(what: object) -> None:
    sys.stderr.write(f"batch_monitor: {what}\n")
    sys.stderr.flush()
