"""What is never sent and never shown: cases 39 to 41."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import pickle
import traceback
from collections.abc import Awaitable, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, cast

import aiohttp
import pytest

from camb_async import (
    CambError,
    CambSession,
    ConfigurationError,
    FixedInterval,
    InvalidTaskIdError,
    SubmissionUnknownError,
    TaskRef,
    TaskWatcher,
    TextToVoiceResult,
    Transition,
    _fetching,
)
from camb_async.simulator import FAULTS, Fault, Simulator
from tests import cli_process
from tests.cli_process import CANARY, Ended, environment, finish, started
from tests.downloading import ONE_TRY, RUN
from tests.helpers import FREE, run, served
from tests.raw_server import answer, raw_server


DESCRIPTION = "A calm and friendly voice that speaks slowly and clearly, " * 3
SOON = FixedInterval(0.02)

BAD_IDS: list[Any] = [
    *("", " ", ".", "..", "../../admin?x=1", "a/b", "a\\b", "a?x=1", "a#f", "a;b"),
    *("%2e", "%2e%2e", "a%2fb", "a\nb", "a\n", "\ra", "a\tb", "a\0b", "a b", " a"),
    *("é", "a\u200b", "\uff41", "x" * 257, "x" * 10_000, "http://a/b", "dub:a"),
    *(7, 0, None, True, 1.5, b"a", ["a"], {"a": 1}, object()),
]


def _uses(camb: CambSession, watcher: TaskWatcher) -> list[Callable[[Any], Any]]:
    """Return all that takes a task."""
    return [
        TaskRef,
        TaskRef.of,
        camb.poll,
        camb.get_task_status,
        camb.wait,
        lambda bad: camb.watch([bad]),
        lambda bad: TaskWatcher(camb, ["good", bad]),
        watcher.add,
        watcher.discard,
        watcher.poll_now,
        watcher.wait,
    ]


async def _called(use: Callable[[Any], Any], task: Any) -> None:
    outcome = use(task)
    if isinstance(outcome, Awaitable):
        await outcome


@pytest.mark.parametrize("bad", BAD_IDS, ids=lambda bad: ascii(bad)[:20])
def test_case_39_a_bad_task_id_sends_nothing(bad: Any) -> None:
    """Wherever a task is taken; the error is a ValueError, too, and short."""

    async def main() -> None:
        async with (
            served() as (simulator, camb),
            camb.watch(keep_open=True) as watcher,
        ):
            for use in _uses(camb, watcher):
                with pytest.raises(InvalidTaskIdError) as caught:
                    await _called(use, bad)
                assert isinstance(caught.value, ValueError)
                assert len(str(caught.value)) < 250
            assert bad not in watcher
            assert 0 == len(watcher)
            assert 0 == len(simulator.requests)

    run(main())


def test_case_39_the_command_line_sends_nothing_for_a_bad_id() -> None:
    """As an argument, on stdin, and to be taken up again: exit code 2."""
    commands = [
        ("status", "../../admin?x=1"),
        ("watch", "good", "a%2fb"),
        ("watch", "-"),
        ("voice", "--task", ".."),
    ]

    async def main() -> None:
        async with Simulator() as simulator:
            ends = await asyncio.gather(
                *(
                    cli_process.run(*command, simulator=simulator, stdin="a\nb/..\n")
                    for command in commands
                )
            )
            assert [2] * 4 == [ended.code for ended in ends]
            assert all("Not a task id" in _joined(ended.err) for ended in ends)
            assert 0 == len(simulator.requests)

    run(main())


def _joined(text: str) -> str:
    """Return a text without the frame and the line breaks that it is shown in."""
    return " ".join(text.replace("│", " ").split())


def test_case_39_an_id_that_the_service_made_up_is_not_used() -> None:
    """A create call may be answered by anything."""

    async def main() -> None:
        async with served() as (simulator, camb):
            made_up = Fault("http", status=200, body={"task_id": "../../admin"})
            simulator.fail(made_up, method="POST")
            with pytest.raises(SubmissionUnknownError, match="Not a task id"):
                await camb.create_text_to_voice(text="a", voice_description=DESCRIPTION)
            assert 1 == len(simulator.requests)

    run(main())


@pytest.mark.parametrize("source", ["argument", "variable", "callable"])
@pytest.mark.parametrize("around", ["{}\n", "{}\r\n", " {} ", "\t{}", "{}\u00a0"])
def test_case_40_what_surrounds_a_key_is_not_sent(
    around: str, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line break from a file, a space from the clipboard."""
    given = around.format(CANARY)
    if source == "variable":
        monkeypatch.setenv("CAMB_API_KEY", given)
    key = {"argument": given, "variable": None, "callable": lambda: given}[source]

    async def main() -> None:
        async with (
            Simulator(api_key=CANARY) as simulator,
            CambSession(cast("Any", key), base_url=simulator.base_url) as camb,
        ):
            await camb.poll(simulator.add_task())
            assert CANARY == simulator.requests[0].headers["x-api-key"]

    run(main())


@pytest.mark.parametrize("source", ["argument", "variable", "callable"])
@pytest.mark.parametrize(
    "bad",
    [
        *("{}\nx-evil: 1", "{} {}", "{}\u200b", "\ufeff{}", "{}é", "{}\x7f", "{}\x1b"),
        *("", " ", "\n", "\u00a0"),
    ],
    ids=ascii,
)
def test_case_40_what_is_no_key_is_not_sent_and_not_shown(
    bad: str, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing leaves, and the error says what to do; an empty key is none."""
    given = bad.format(CANARY, CANARY)
    if source == "variable":
        monkeypatch.setenv("CAMB_API_KEY", given)
    key = {"argument": given, "variable": None, "callable": lambda: given}[source]
    says = "copy it again" if CANARY in given else "set CAMB_API_KEY"

    async def main() -> None:
        async with Simulator() as simulator:
            with pytest.raises(ConfigurationError, match=says) as caught:
                async with CambSession(
                    cast("Any", key), base_url=simulator.base_url
                ) as camb:
                    await camb.poll("t")
            assert not [said for said in _words(caught.value) if CANARY in said]
            assert 0 == len(simulator.requests)

    run(main())


# The hunt for the canary: one key, and everything that could show it.


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error, and whatever hangs on to it."""
    waiting, seen = [error], set[int]()
    while waiting:
        current = waiting.pop()
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        waiting += [current.__cause__, current.__context__]
        if isinstance(current, BaseExceptionGroup):
            waiting += cast("BaseExceptionGroup[BaseException]", current).exceptions


def _words(error: BaseException) -> Iterator[str]:
    """Yield what is said by an error and by what hangs on to it."""
    for each in _chain(error):
        yield from (str(each), repr(each), repr(each.args), repr(vars(each)))
        yield from traceback.format_exception(each)
        if isinstance(each, CambError):
            yield pickle.dumps(each).decode("latin-1")


def _variables(error: BaseException) -> Iterator[str]:
    """Yield the local variables of all frames but those of the tests."""
    for each in _chain(error):
        told = traceback.TracebackException.from_exception(each, capture_locals=True)
        for frame in told.stack:
            if "/tests/" not in frame.filename:
                yield from (frame.locals or {}).values()


def _found_in(error: BaseException) -> list[str]:
    return [t for t in (*_words(error), *_variables(error)) if CANARY in t]


async def _use_all(
    camb: CambSession, task: str, result: TextToVoiceResult, directory: Path
) -> list[object]:
    """Do all that a session can do; return what came of each."""

    async def watch() -> list[object]:
        async with camb.watch(
            [task, "nobody"], schedule=SOON, deadline=0.05
        ) as watcher:
            seen = [transition async for transition in watcher]
            return [watcher, watcher.stats(), *watcher.watched(), *seen]

    outcomes = await asyncio.gather(
        camb.create_text_to_voice(text="Hello.", voice_description=DESCRIPTION),
        camb.poll(task),
        camb.get_task_status(task),
        camb.wait(task, deadline=0.05, schedule=SOON),
        camb.get_text_to_voice_result(RUN),
        camb.download_previews(result, directory),
        watch(),
        return_exceptions=True,
    )
    *single, watched = outcomes
    assert isinstance(watched, list)

    return [camb, *single, *watched]


def _errors(outcomes: Iterable[object]) -> Iterator[BaseException]:
    for outcome in outcomes:
        error = outcome.error if isinstance(outcome, Transition) else outcome
        if isinstance(error, BaseException):
            yield error


ENDLESS = {
    *("hang", "drip", "slow"),
    *("endless_headers", "endless_body", "endless_continues"),
}


async def _storm(
    fault: str, directory: Path, *, borrowed: aiohttp.ClientSession | None
) -> list[object]:
    """Do everything while everything is answered by a fault."""

    async def ask() -> str:
        return CANARY

    async with (
        Simulator(api_key=CANARY) as simulator,
        CambSession(CANARY, base_url=simulator.base_url) as patient,
        CambSession(
            CANARY if borrowed is None else ask,
            base_url=simulator.base_url,
            client_session=borrowed,
            limits=FREE,
            retry=ONE_TRY,
            # On a busy machine that logs every step, requests take their time.
            request_timeout=0.3 if fault in ENDLESS else 3.0,
        ) as camb,
    ):
        task = simulator.add_task("t", run_id=RUN)
        result = await patient.get_text_to_voice_result(RUN)
        simulator.fail(fault, times=None)
        outcomes = await _use_all(camb, task, result, directory)
        keys = [request.headers.get("x-api-key") for request in simulator.requests]
        assert keys.count(CANARY) > 1
        assert "Signature=" in result.previews[0]

        return outcomes


@pytest.mark.parametrize(
    "owned",
    [
        pytest.param(True, id="owned"),
        pytest.param(False, id="borrowed", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("fault", FAULTS)
def test_case_41_whatever_goes_wrong_the_key_is_not_shown(
    fault: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    *,
    owned: bool,
) -> None:
    """Not by errors, values, frames or logs; and no signature of a link either."""
    monkeypatch.setattr(_fetching, "IDLE_TIMEOUT", 0.15)
    caplog.set_level(0)
    for name in ("aiohttp.client", "aiohttp.internal", "asyncio", "camb_async"):
        caplog.set_level(0, name)

    async def main() -> list[object]:
        loop = asyncio.get_running_loop()
        loop.set_debug(True)
        loop.slow_callback_duration = 0.0  # so that asyncio tells of every step
        if owned:
            return await _storm(fault, tmp_path, borrowed=None)
        async with aiohttp.ClientSession() as borrowed:
            return await _storm(fault, tmp_path, borrowed=borrowed)

    outcomes = run(main())
    errors = list(_errors(outcomes))
    told = [each for each in outcomes if not isinstance(each, TextToVoiceResult)]
    texts = [*map(repr, told), caplog.text, *(t for e in errors for t in _words(e))]
    saved = [str(pickle.dumps(e)) for e in outcomes if isinstance(e, Transition)]
    frames = [text for error in errors for text in _variables(error)]

    assert "Executing" in caplog.text
    assert not [text for text in [*texts, *saved, *frames] if CANARY in text]
    assert not [text for text in texts if "Signature=" in text]


ECHOES: dict[str, bytes] = {
    "reason": answer(b"{}", status=f"500 {CANARY}"),
    "header": answer(b"{}", f"X-Request-Id: {CANARY}", status="500 Oh"),
    "location": answer(b"", f"Location: /{CANARY}?k={CANARY}", status="302 Found"),
    "text": answer(CANARY.encode(), status="403 Forbidden"),
    "detail": answer(b'{"detail": "%b"}' % CANARY.encode(), status="422 No"),
    "issue": answer(
        b'{"detail": [{"loc": ["%b"], "msg": "%b"}]}' % ((CANARY.encode(),) * 2),
        status="422 No",
    ),
    "page": answer(b"<title>%b</title>" % CANARY.encode()),
    "status": answer(b'{"status": "%b"}' % CANARY.encode()),
    "message": answer(b'{"status": "ERROR", "message": "%b"}' % CANARY.encode()),
    "task": answer(b'{"task_id": "/%b"}' % CANARY.encode()),
    "cut": answer(CANARY.encode(), length=1000),
    "encoded": answer(CANARY.encode(), "Content-Encoding: gzip"),
}


@pytest.mark.parametrize("echo", ECHOES)
def test_case_41_a_key_that_the_server_sends_back_is_not_shown(
    echo: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Some servers quote a request when they complain about it."""
    caplog.set_level(0)

    async def serve(_target: str, writer: asyncio.StreamWriter) -> None:
        writer.write(ECHOES[echo])

    async def main() -> list[object]:
        async with (
            raw_server(serve) as server,
            CambSession(
                CANARY, base_url=server.origin, limits=FREE, retry=ONE_TRY
            ) as camb,
        ):
            # Not one of its own: who serves the previews never had the key.
            links = TextToVoiceResult(RUN, ("https://10.0.0.1/x",))
            return await _use_all(camb, "t", links, tmp_path)

    outcomes = run(main())
    errors = list(_errors(outcomes))

    assert errors
    assert CANARY not in caplog.text + repr(outcomes)
    assert not [found for error in errors for found in _found_in(error)]


async def _observed(
    simulator: Simulator, *args: str, asks_for: str, **extra: str
) -> Ended:
    """Run a command, and look at it as ``ps`` does when it has made a request."""
    env = environment(simulator, PYTHONASYNCIODEBUG="1", **extra)
    async with started(*args, env=env) as process:
        async with asyncio.timeout(20):
            while not any(asks_for in r.path for r in simulator.requests):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        shown = _process_list()
        ended = await finish(process)
    assert args[0] in shown
    assert CANARY not in shown

    return ended


def _process_list() -> str:
    """Return the arguments of all processes, which any user can read."""
    lines: list[str] = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            lines.append(path.read_bytes().decode("utf-8", "replace"))
    return "\n".join(lines)


@pytest.mark.slow
def test_case_41_the_command_line_shows_no_key(tmp_path: Path) -> None:
    """Neither with each fault in turn, nor with a key that is refused."""
    # Those that never end on their own would only be waited for.
    endless = {"hang", "401"}

    async def main() -> None:
        async with Simulator(api_key=CANARY, speed=100) as simulator:
            tasks = [
                simulator.add_task(f"t{number}", answers=[fault, "SUCCESS"])
                for number, fault in enumerate(FAULTS.keys() - endless)
            ]
            done = simulator.add_task("done", run_id=RUN, after=0)
            simulator.fail("truncate_chunked", times=2, path="/previews/")
            wrong = {"CAMB_API_KEY": CANARY + CANARY}
            voice = ("voice", "--task", done, "--out", str(tmp_path), "--json")
            ends = await asyncio.gather(
                _observed(simulator, "watch", "--json", *tasks, asks_for=tasks[0]),
                _observed(simulator, *voice, asks_for=done),
                _observed(simulator, "status", "--json", "a", asks_for="/a", **wrong),
                _observed(simulator, "watch", "--json", "b", asks_for="/b", **wrong),
            )
            keys = {request.headers.get("x-api-key") for request in simulator.requests}
        watched, fetched, *refused = ends
        lasts = [each for each in watched.objects() if each["is_final"]]

        assert {CANARY, CANARY + CANARY, None} == keys
        assert len(tasks) == len(lasts)
        assert 0 == fetched.code
        assert [3, 3] == [ended.code for ended in refused]
        assert not [ended for ended in ends if "Signature=" in ended.out + ended.err]

    run(main())


def test_case_41_no_logger_but_ours_is_touched() -> None:
    """Importing and using the library sets no level and adds no handler elsewhere."""
    others = [logging.getLogger(name) for name in ("", "aiohttp.client", "asyncio")]
    before = [(other.level, list(other.handlers)) for other in others]

    async def main() -> None:
        async with served() as (simulator, camb):
            await camb.poll(simulator.add_task())

    run(main())

    assert before == [(other.level, list(other.handlers)) for other in others]
