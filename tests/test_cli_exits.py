"""The exit codes: the table, and each code from a real process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

import camb_async
from camb_async import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    CambError,
    ConfigurationError,
    DeadlineExceededError,
    DownloadError,
    InvalidResponseError,
    InvalidTaskIdError,
    LinkExpiredError,
    NotFoundError,
    PaymentRequiredError,
    PermissionDeniedError,
    RateLimitError,
    ServerError,
    SessionClosedError,
    StoreError,
    SubmissionUnknownError,
    TaskError,
    TaskFailedError,
    TaskParkedError,
    TaskPaymentRequiredError,
    TaskState,
    TaskStatus,
    TaskTimeoutError,
    UnexpectedRedirectError,
    ValidationError,
    WatcherClosedError,
)
from camb_async.cli.app import app
from camb_async.cli.exits import code_of_all, code_of_error, code_of_state
from camb_async.simulator import Fault, Simulator

from .cli_process import CANARY, Ended, environment, finish, run, started


_CODES: dict[type[CambError], int] = {
    CambError: 1,
    ConfigurationError: 3,
    SessionClosedError: 1,
    WatcherClosedError: 1,
    InvalidTaskIdError: 2,
    APIConnectionError: 5,
    APITimeoutError: 5,
    InvalidResponseError: 5,
    UnexpectedRedirectError: 5,
    APIStatusError: 5,
    AuthenticationError: 3,
    PaymentRequiredError: 4,
    PermissionDeniedError: 3,
    NotFoundError: 1,
    ValidationError: 1,
    RateLimitError: 5,
    ServerError: 5,
    SubmissionUnknownError: 5,
    TaskError: 1,
    TaskFailedError: 1,
    TaskTimeoutError: 1,
    TaskPaymentRequiredError: 4,
    DeadlineExceededError: 6,
    DownloadError: 5,
    LinkExpiredError: 5,
    StoreError: 2,
    TaskParkedError: 1,
}


def _bare(error_class: type[CambError]) -> CambError:
    return error_class.__new__(error_class)


def test_every_error_has_a_code() -> None:
    """No public class of the tree was forgotten in the table above."""
    public = (getattr(camb_async, name) for name in camb_async.__all__)
    errors = (each for each in public if isinstance(each, type))

    assert {each for each in errors if issubclass(each, CambError)} == set(_CODES)


@pytest.mark.parametrize(
    ("error_class", "code"),
    _CODES.items(),
    ids=lambda each: getattr(each, "__name__", ""),
)
def test_code_of_an_error(error_class: type[CambError], code: int) -> None:
    """An error class stands for one exit code."""
    assert code == code_of_error(_bare(error_class))


def test_a_store_that_is_away_may_come_back() -> None:
    """Where trying again may help the code is that of the network."""
    assert 5 == code_of_error(StoreError("The server is away.", retryable=True))


@pytest.mark.parametrize(
    ("classes", "code"),
    [
        ((), 0),
        ((None, None), 0),
        ((None, TaskFailedError), 1),
        ((TaskFailedError, DeadlineExceededError, None), 6),
        ((DeadlineExceededError, ServerError), 5),
        ((ServerError, TaskPaymentRequiredError, TaskFailedError), 4),
        ((TaskPaymentRequiredError, AuthenticationError), 3),
    ],
)
def test_of_several_reasons_one_is_told(
    classes: tuple[type[CambError] | None, ...], code: int
) -> None:
    """Key, credits, network, deadline, failures: the first that there is."""
    errors = [None if each is None else _bare(each) for each in classes]

    assert code == code_of_all(errors)


@pytest.mark.parametrize(
    ("status", "reason", "code"),
    [
        ("SUCCESS", None, 0),
        ("PENDING", None, 0),
        ("UNKNOWN", None, 0),
        ("ERROR", "INTERNAL_ERROR", 1),
        ("TIMEOUT", None, 1),
        ("PAYMENT_REQUIRED", None, 4),
        ("ERROR", "PAYMENT_REQUIRED", 4),
    ],
)
def test_code_of_a_status(status: str, reason: str | None, code: int) -> None:
    """A task under way has not failed; missing credits come in two forms."""
    state = TaskState(TaskStatus(status), exception_reason=reason)

    assert code == code_of_state(state)


_Arguments = Callable[[Simulator], list[str]]


def _watch(*statuses: str, reason: str | None = None) -> _Arguments:
    def arguments(simulator: Simulator) -> list[str]:
        ids = [
            simulator.add_task(status=status, after=0.0, exception_reason=reason)
            for status in statuses
        ]
        return ["watch", *ids, "--deadline", "0.5", "--interval", "0.1"]

    return arguments


def _failing(command: str, fault: Fault | str) -> _Arguments:
    def arguments(simulator: Simulator) -> list[str]:
        task_id = simulator.add_task(after=0.0)
        simulator.fail(fault, times=None, task_id=task_id)
        return [command, task_id]

    return arguments


def _just(*arguments: str) -> _Arguments:
    return lambda _simulator: list(arguments)


_RUNS: dict[str, tuple[_Arguments, dict[str, str], int]] = {
    "nobody there": (
        _just("status", "a"),
        {"CAMB_BASE_URL": "http://127.0.0.1:9/apis"},
        5,
    ),
    "all succeeded": (_watch("SUCCESS", "SUCCESS"), {}, 0),
    "one failed": (_watch("SUCCESS", "ERROR"), {}, 1),
    "deadline": (_watch("SUCCESS", "PENDING"), {}, 6),
    "deadline and failure": (_watch("ERROR", "PENDING"), {}, 6),
    "credits as a reason": (_watch("ERROR", reason="PAYMENT_REQUIRED"), {}, 4),
    "watch 402": (_failing("watch", "402"), {}, 4),
    "watch 403": (_failing("watch", "403"), {}, 3),
    "watch 422": (_failing("watch", "422"), {}, 1),
    "status 403": (_failing("status", "403"), {}, 3),
    "status 404": (_just("status", "no-such-task"), {}, 1),
    "status redirect": (_failing("status", "redirect"), {}, 5),
    "wrong key": (_watch("PENDING", "PENDING"), {"CAMB_API_KEY": CANARY}, 3),
    "no key": (_watch("PENDING"), {"CAMB_API_KEY": ""}, 3),
    "bad key": (_watch("PENDING"), {"CAMB_API_KEY": f"{CANARY}\n{CANARY}"}, 3),
    "bad address": (
        _watch("PENDING"),
        {"CAMB_BASE_URL": f"http://user:{CANARY}@example.com"},
        3,
    ),
    "bad id": (_just("status", "not/an/id"), {}, 2),
    "bad deadline": (_just("watch", "a", "--deadline", "soon"), {}, 2),
}


def test_codes_of_real_processes() -> None:
    """Each command line ends with its code, and says why on stderr only."""
    slots = asyncio.Semaphore(6)

    async def code_of(arguments: _Arguments, extra: dict[str, str]) -> int | None:
        async with slots, Simulator() as simulator:
            ended = await run(*arguments(simulator), simulator=simulator, **extra)
        assert ended.err

        return ended.code

    async def main() -> dict[str, int | None]:
        codes = await asyncio.gather(
            *(code_of(arguments, extra) for arguments, extra, _code in _RUNS.values())
        )
        return dict(zip(_RUNS, codes, strict=True))

    assert {name: code for name, (_, _, code) in _RUNS.items()} == asyncio.run(main())


def test_a_deadline_of_none_is_no_deadline() -> None:
    """``--deadline none`` waits for as long as it takes."""

    async def main() -> int | None:
        async with Simulator() as simulator:
            task = simulator.add_task(after=0.3)
            options = ("--deadline", "none", "--interval", "0.1")
            return (await run("watch", task, *options, simulator=simulator)).code

    assert 0 == asyncio.run(main())


@pytest.mark.parametrize(
    "line",
    [
        "frobnicate",
        "watch",
        "watch good nonsense:1",
        "watch a --api-key x",
        "watch a --deadline inf",
        "watch a --deadline -1",
        "watch a --interval 0",
        "watch a --max-rate -1",
        "status -",
        "status a b",
        "demo --speed nan",
        "simulate --scenario nonsense",
        "simulate --port 70000",
    ],
)
def test_usage_that_is_refused(line: str) -> None:
    """What makes no sense is refused with 2 before anything is done."""
    result = CliRunner().invoke(app, line.split())

    assert (2, "") == (result.exit_code, result.stdout)


@pytest.mark.skipif(
    not Path("/dev/full").exists(), reason="/dev/full is a Linux device"
)
def test_a_full_disk_is_told_in_one_line() -> None:
    """It is no failed task, and shows no traceback."""

    async def main() -> Ended:
        async with Simulator() as simulator:
            line = ("status", simulator.add_task())
            env = environment(simulator)
            with Path("/dev/full").open("w") as full:  # noqa: ASYNC230 - a device
                async with started(*line, env=env, stdout=full.fileno()) as process:
                    return await finish(process)

    ended = asyncio.run(main())

    assert 2 == ended.code
    assert "camb-async: the output cannot be written: No space left on device\n" == (
        ended.err
    )
