"""Cases 26 to 33: cancellation, readers, callbacks, loops, processes, leaks."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import json
import logging
import signal
import sys
import time
import traceback
from collections.abc import AsyncGenerator, Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import pytest

from camb_async import (
    APIConnectionError,
    CambSession,
    DownloadError,
    DownloadProgress,
    FixedInterval,
    Limits,
    PermissionDeniedError,
    RetryPolicy,
    SessionClosedError,
    TaskFailedError,
    TaskRef,
    TaskWatcher,
    Transition,
)
from camb_async.simulator import Fault, Scenario, Simulator, ThreadedSimulator
from tests import virtual_time
from tests.cli_process import environment
from tests.downloading import RUN, finished
from tests.fakes import FakeStatusSource
from tests.helpers import FREE, run, served
from tests.watching import EVERY_SECOND, read_all, texts, watch


SOON = FixedInterval(0.02)
DESCRIPTION = (
    "A calm woman in her forties with a light accent, unhurried and clear, sounding "
    "reassuring and a little amused, recorded close to the microphone."
)


# 26: cancellation is never swallowed.


def _uses() -> list[Callable[[CambSession, str], Any]]:
    return [
        lambda camb, task: camb.poll(task),
        lambda camb, task: camb.get_task_status(task),
        lambda camb, task: camb.wait(task),
        lambda camb, _: camb.get_text_to_voice_result(1),
        lambda camb, _: camb.create_text_to_voice(
            text="a", voice_description=DESCRIPTION
        ),
    ]


@pytest.mark.parametrize(
    "use", _uses(), ids=["poll", "read", "wait", "result", "create"]
)
def test_case_26_asyncio_timeout_works_around_any_call(use: Callable[..., Any]) -> None:
    """It ends in TimeoutError, promptly, and nothing is left."""

    async def main() -> None:
        async with served() as (simulator, camb):
            simulator.fail("hang", times=None)
            loop = asyncio.get_running_loop()
            before = loop.time()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await use(camb, simulator.add_task())
            assert loop.time() - before < 1.0

    run(main())


def test_case_26_an_outer_cancellation_ends_everything_cleanly() -> None:
    """asyncio.timeout and an anyio scope around a watcher behave the same."""

    async def main() -> None:
        source = FakeStatusSource(latency=0.4)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3), TaskWatcher(source, ["a", "b"]) as watcher:
                await watcher.wait("c")
        with anyio.move_on_after(3) as scope:
            async with TaskWatcher(source, ["a", "b"], keep_open=True) as watcher:
                await read_all(watcher)
        assert scope.cancelled_caught
        assert 0 == source.in_flight
        assert 1 == len(asyncio.all_tasks())

    virtual_time.run(main())


#: What is called, and what the server does to hold it up: on the wire, in the queue
#: for a slot, in the back-off after a failure, in a pause that was asked for.
HELD_UP: dict[str, tuple[Fault, Limits]] = {
    "wire": (Fault("hang"), FREE),
    "queue": (Fault("hang"), Limits(max_in_flight=1)),
    "back-off": (Fault("500"), FREE),
    "pause": (Fault("429", retry_after="50"), FREE),
}


@pytest.mark.parametrize("where", HELD_UP)
@pytest.mark.parametrize("call", ["read", "wait", "iterate"])
def test_case_26_a_cancelled_call_is_cancelled(call: str, where: str) -> None:
    """Wherever it was held up; what is left of the session works at once."""
    fault, limits = HELD_UP[where]
    patient = RetryPolicy(backoff_initial=1e5, backoff_max=1e5)

    async def main() -> None:
        async with served(limits=limits, retry=patient) as (simulator, camb):
            uses: dict[str, Callable[[str], Coroutine[Any, Any, object]]] = {
                "read": camb.get_task_status,
                "wait": lambda task: camb.wait(task, deadline=None),
                "iterate": lambda task: _first(camb, task),
            }
            simulator.fail(fault, times=None)
            tasks = [simulator.add_task() for _ in range(3)]
            calls = [asyncio.ensure_future(uses[call](task)) for task in tasks]
            await asyncio.sleep(3)
            for each in calls:
                each.cancel()
            await asyncio.wait(calls, timeout=1)
            assert all(each.cancelled() for each in calls)
            simulator.heal()
            await asyncio.sleep(60 if where == "pause" else 0)
            async with asyncio.timeout(1):
                await camb.poll(tasks[0])
        await asyncio.sleep(1)
        assert {asyncio.current_task()} == asyncio.all_tasks()

    virtual_time.run(main())


async def _first(camb: CambSession, task: str) -> Transition:
    async with camb.watch([task], deadline=None) as watcher:
        return await anext(watcher)


# 27: one cause is one exception, and one task's trouble is its own.


def test_case_27_an_exception_of_the_body_comes_out_as_it_is() -> None:
    """No ExceptionGroup around a single cause."""

    async def main() -> None:
        async with TaskWatcher(FakeStatusSource(), ["a", "b"]) as watcher:
            await anext(watcher)
            message = "mine"
            raise LookupError(message)

    with pytest.raises(LookupError, match="mine"):
        virtual_time.run(main())


class _NoExceptionError(BaseException):
    """What pytest.fail and the like raise."""


def test_case_27_what_is_no_exception_comes_out_as_it_is() -> None:
    """A source that raises a BaseException ends the block with it, in no group."""

    async def main() -> None:
        source = FakeStatusSource({"a": [_NoExceptionError("mine")]})
        async with TaskWatcher(source, ["a"]) as watcher:
            await read_all(watcher)

    with pytest.raises(_NoExceptionError, match="mine"):
        virtual_time.run(main())


def test_case_27_each_task_has_its_own_result() -> None:
    """A failure, a refusal and a success side by side: nothing is raised."""

    async def main() -> dict[str, Exception | None]:
        async with served() as (simulator, camb):
            tasks = {
                "good": simulator.add_task(answers=["PENDING", "SUCCESS"]),
                "failed": simulator.add_task(answers=["PENDING", "ERROR"]),
                "refused": simulator.add_task(answers=["PENDING", "403"]),
            }
            names = {task: name for name, task in tasks.items()}
            async with camb.watch(tasks.values(), schedule=SOON) as watcher:
                return {names[t.task_id]: t.error async for t in watcher if t.is_final}

    results = run(main())

    assert {"good", "failed", "refused"} == set(results)
    assert results["good"] is None
    assert isinstance(results["failed"], TaskFailedError)
    assert isinstance(results["refused"], PermissionDeniedError)


def test_case_27_one_failure_is_no_group(tmp_path: Path) -> None:
    """In a wait and in a download, both of which have task groups inside."""

    async def main() -> None:
        async with finished() as (simulator, camb):
            simulator.fail("404", path="/previews/")
            with pytest.raises(DownloadError):
                await camb.download_previews(RUN, tmp_path)
            with pytest.raises(TaskFailedError):
                await camb.wait(simulator.add_task(status="ERROR", after=0))

    run(main())


# 28: break, garbage collection, the end of the loop.


def test_case_28_break_and_come_back_loses_nothing() -> None:
    """A second loop goes on where the first was left."""

    async def main() -> list[Transition]:
        source = FakeStatusSource(
            {f"t{n}": ["PENDING", "PENDING", "SUCCESS"] for n in range(20)}
        )
        seen: list[Transition] = []
        async with TaskWatcher(
            source, [f"t{n}" for n in range(20)], schedule=EVERY_SECOND
        ) as watcher:
            ended = False
            while not ended:
                async for transition in watcher:
                    seen.append(transition)
                    break
                else:
                    ended = True
                await asyncio.sleep(0.2)
        return seen

    seen = virtual_time.run(main())

    assert 40 == len(seen)
    assert 20 == sum(t.succeeded for t in seen)


#: Programs that ask a simulator about the tasks "a" and "b", which never end.
PROGRAMS = {
    "break": """
        async with CambSession() as camb, TaskWatcher(camb, ["a", "b"]) as watcher:
            async for _ in watcher:
                break
    """,
    "return": """
        async with CambSession() as camb, TaskWatcher(camb, ["a", "b"]) as watcher:
            async for _ in watcher:
                return
    """,
    "exit": """
        async with CambSession() as camb, TaskWatcher(camb, ["a", "b"]) as watcher:
            async for _ in watcher:
                sys.exit(0)
    """,
    "an iterator that is collected": """
        async with CambSession() as camb, TaskWatcher(camb, ["a", "b"]) as watcher:
            iterator = aiter(watcher)
            await anext(iterator)
            del iterator
            gc.collect()
    """,
    "a watcher that is collected": """
        async with CambSession() as camb:
            watcher = await TaskWatcher(camb, ["a", "b"]).__aenter__()
            await anext(watcher)
            del watcher
            gc.collect()
    """,
    "the end of the loop": """
        async def watch():
            async with CambSession() as camb, TaskWatcher(camb, ["a"]) as watcher:
                async for _ in watcher:
                    seen.set()
        seen = asyncio.Event()
        asyncio.create_task(watch())
        await seen.wait()
    """,
}


#: A busy machine is slow now and then, of which asyncio would warn in its debug mode.
IMPORTS = """
import asyncio, gc, logging, os, sys
from camb_async import *

logging.getLogger("asyncio").setLevel(logging.ERROR)
"""


async def quiet(program: str, simulator: Simulator) -> str:
    """Run a program where every warning is an error, and return what it prints.

    It must end well and print nothing to stderr.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-X", "dev", "-W", "error", "-c", program),
        env=environment(simulator),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert (0, "") == (process.returncode, err.decode())

    return out.decode()


def in_a_loop(body: str) -> str:
    """Return the program whose ``main`` has this body."""
    return f"{IMPORTS}async def main():{body}\nasyncio.run(main())\ngc.collect()\n"


@contextlib.asynccontextmanager
async def never_ending() -> AsyncGenerator[Simulator]:
    """Run a simulator whose tasks "a" and "b" stay PENDING."""
    async with Simulator() as simulator:
        for task in "ab":
            simulator.add_task(task, status="PENDING")
        yield simulator


@pytest.mark.parametrize("name", PROGRAMS)
def test_case_28_however_a_loop_is_left_nothing_complains(name: str) -> None:
    """No warning, no task destroyed while pending, no scope left in another task."""

    async def main() -> str:
        async with never_ending() as simulator:
            return await quiet(in_a_loop(PROGRAMS[name]), simulator)

    assert not run(main())


def test_case_28_the_end_of_a_loop_is_no_failed_poll(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """``asyncio.run`` cancels all tasks, also those that ask; no source did that."""

    async def watch_on(source: FakeStatusSource) -> None:
        async with TaskWatcher(source, ["a", "b", "c"]) as watcher:
            await read_all(watcher)

    async def main() -> asyncio.Task[None]:
        watching = asyncio.create_task(watch_on(FakeStatusSource(latency=5.0)))
        await asyncio.sleep(1.0)
        return watching

    watching = virtual_time.run(main())

    assert watching.cancelled()
    assert not caplog.messages


def test_case_28_a_watcher_that_is_never_left_ends_with_its_loop() -> None:
    """It does not keep ``asyncio.run`` from returning, polling on for ever."""
    source = FakeStatusSource(latency=5.0)
    watcher = TaskWatcher(source, ["a"])

    def give_up(_task: TaskRef) -> None:
        if len(source.asked) > 5:
            raise SystemExit

    async def main() -> None:
        source.on_poll = give_up
        await watcher.__aenter__()
        await asyncio.sleep(1.0)

    virtual_time.run(main())

    assert 1 == len(source.asked)


# 29: slow and dead readers.


def test_case_29_a_slow_reader_loses_nothing() -> None:
    """Changes wait to be read, in order, while the reader is busy."""

    async def main() -> list[Transition]:
        script = ["PENDING", "QUEUED", "PENDING", "RUNNING", "SUCCESS"]
        source = FakeStatusSource({f"t{n}": script for n in range(10)})
        seen: list[Transition] = []
        async with TaskWatcher(
            source, [f"t{n}" for n in range(10)], schedule=EVERY_SECOND
        ) as watcher:
            async for transition in watcher:
                await asyncio.sleep(7.0)
                seen.append(transition)
        return seen

    seen = virtual_time.run(main())

    assert 50 == len(seen)
    for n in range(10):
        assert ["PENDING", "QUEUED", "PENDING", "RUNNING", "SUCCESS"] == texts(
            seen, f"t{n}"
        )


def test_case_29_what_is_unread_is_bounded_per_task() -> None:
    """A task that flaps without a reader keeps 64 changes, then merges them."""

    async def main() -> list[Transition]:
        flapping = ["PENDING", "QUEUED"] * 500
        source = FakeStatusSource({"a": [*flapping, "SUCCESS"]})
        async with TaskWatcher(source, ["a"], schedule=EVERY_SECOND) as watcher:
            await asyncio.sleep(2000)
            return await read_all(watcher)

    seen = virtual_time.run(main())

    assert 65 == len(seen)
    assert seen[-1].succeeded
    assert all(
        after.previous == before.status for before, after in itertools.pairwise(seen)
    )


@pytest.mark.parametrize("tasks", [1, 50])
def test_case_29_a_dead_reader_costs_no_more_with_time(tasks: int) -> None:
    """What is unread stops growing, and every final is there in the end."""

    async def main() -> tuple[int, int, list[Transition]]:
        names = [f"t{n}" for n in range(tasks)]
        source = FakeStatusSource({name: ["PENDING", "QUEUED"] * 200 for name in names})
        async with TaskWatcher(source, names, schedule=EVERY_SECOND) as watcher:
            await asyncio.sleep(100)
            early = watcher.stats().transitions
            await asyncio.sleep(200)
            late = watcher.stats().transitions
            for name in names:
                source.script(name, "SUCCESS")
            await asyncio.sleep(5)
            return early, late, await read_all(watcher)

    early, late, seen = virtual_time.run(main())

    assert 64 * tasks == early == late
    assert 65 * tasks == len(seen)
    assert tasks == sum(transition.succeeded for transition in seen)


def test_case_29_at_the_wire_a_reader_that_comes_late_gets_every_final() -> None:
    """Twenty tasks flap and end before anybody reads."""

    async def main() -> list[Transition]:
        async with served() as (simulator, camb):
            answers = [*["PENDING", "QUEUED"] * 50, "SUCCESS"]
            tasks = [simulator.add_task(answers=answers) for _ in range(20)]
            async with camb.watch(tasks, schedule=EVERY_SECOND) as watcher:
                await asyncio.sleep(200)
                assert 0 == watcher.stats().watching
                return await read_all(watcher)

    seen = virtual_time.run(main())

    assert 20 * 65 == len(seen)
    assert 20 == sum(transition.succeeded for transition in seen)


# 30: what is the user's raises, or blocks.


def test_case_30_a_display_that_fails_is_reported_once_and_hurts_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is not called again."""
    calls: list[DownloadProgress] = []

    def show(progress: DownloadProgress) -> None:
        calls.append(progress)
        raise ZeroDivisionError

    async def main() -> list[Path]:
        async with finished() as (_, camb):
            return await camb.download_previews(RUN, tmp_path, on_progress=show)

    with caplog.at_level(logging.WARNING, "camb_async"):
        paths = run(main())

    assert all(path.exists() for path in paths)
    assert 1 == len(calls)
    (record,) = caplog.records
    assert "on_progress failed" in record.message
    assert record.exc_info is not None
    assert ZeroDivisionError is record.exc_info[0]


def test_case_30_a_schedule_that_raises_is_reported_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """All tasks are polled at the default pace, however often it fails."""

    class Broken(FixedInterval):
        def next_delay(
            self, task: TaskRef, age: float, *, age_known: bool = True
        ) -> float:
            raise LookupError

        def learn(
            self, task: TaskRef, lower: float, upper: float, *, entry: float = 0.0
        ) -> None:
            raise LookupError

    names = [f"t{n}" for n in range(20)]
    script = [*["PENDING"] * 5, "SUCCESS"]
    source = FakeStatusSource(dict.fromkeys(names, script))
    tasks = [TaskRef(name, created_at=datetime.now(UTC)) for name in names]
    seen = watch(source, *tasks, schedule=Broken())
    warned = [record.getMessage() for record in caplog.records]

    assert 20 == sum(transition.succeeded for transition in seen)
    assert 2 == len(warned)
    assert "failed; polling" in warned[0]
    assert "could not learn" in warned[1]


def test_case_30_a_key_callable_that_raises_is_a_failed_poll() -> None:
    """The watches go on, and end well once it answers."""
    calls = 0

    async def main() -> list[Transition]:
        nonlocal calls
        async with Simulator() as simulator:

            def key() -> str:
                nonlocal calls
                calls += 1
                if calls <= 10:
                    raise LookupError
                return simulator.api_key

            tasks = [simulator.add_task(after=0) for _ in range(5)]
            async with (
                CambSession(key, base_url=simulator.base_url) as camb,
                camb.watch(tasks) as watcher,
            ):
                return await read_all(watcher)

    seen = virtual_time.run(main())

    assert 5 == sum(transition.succeeded for transition in seen)
    assert 11 == calls


def test_case_30_a_call_that_blocks_is_named(caplog: pytest.LogCaptureFixture) -> None:
    """What holds up the event loop from inside our code fails in all these tests."""

    class Blocking(FixedInterval):
        def next_delay(
            self, task: TaskRef, age: float, *, age_known: bool = True
        ) -> float:
            time.sleep(0)
            return 1.0

    source = FakeStatusSource({"a": ["PENDING", "SUCCESS"]})
    last = watch(source, "a", schedule=Blocking())[-1]

    assert last.succeeded
    assert "Blocking call to time.sleep" in caplog.text


# 31: the process is killed.


def test_case_31_after_a_kill_every_final_is_there_once(tmp_path: Path) -> None:
    """The batch monitor keeps a journal: killed as results come, it goes on."""
    rows, out = tmp_path / "rows.ndjson", tmp_path / "out"
    journal = out / "journal.ndjson"
    rows.write_text(
        "".join(
            json.dumps({"description": DESCRIPTION, "text": f"text {n}"}) + "\n"
            for n in range(6)
        )
    )

    def noted(event: str) -> int:
        tag = f'"event": "{event}"'
        return journal.read_text().count(tag) if journal.exists() else 0

    async def main() -> tuple[int, int | None, list[dict[str, Any]]]:
        scenario = Scenario(
            median=0.6, shortest=0.3, longest=1.5, outcomes={"SUCCESS": 1}
        )
        async with Simulator(scenario) as simulator:
            first = await _batch(rows, out, simulator)
            async with asyncio.timeout(30):
                while noted("created") < 6 or not noted("finished"):  # noqa: ASYNC110
                    await asyncio.sleep(0.005)
            first.send_signal(signal.SIGKILL)
            await first.wait()
            before = noted("finished")
            code = await (await _batch(rows, out, simulator)).wait()
            assert 6 == sum(request.method == "POST" for request in simulator.requests)
        results = (out / "results.ndjson").read_text().splitlines()
        return before, code, [json.loads(line) for line in results]

    before, code, results = run(main())

    assert 1 <= before <= 6
    assert 0 == code
    assert [1, 2, 3, 4, 5, 6] == sorted(result["row"] for result in results)
    assert {"SUCCESS"} == {result["status"] for result in results}


async def _batch(
    rows: Path, out: Path, simulator: Simulator
) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "examples.batch_monitor", str(rows)),
        *("--out", str(out), "--interval", "0.1"),
        env=environment(simulator),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )


# 32: a session that is used where it cannot be.


def test_case_32_a_session_outside_its_block_says_what_to_do() -> None:
    """Unopened, closed, opened twice, and opened in another loop."""
    session = CambSession("key", base_url="http://127.0.0.1:1")

    async def unopened() -> None:
        for call in (session.poll, session.get_task_status, session.wait):
            with pytest.raises(SessionClosedError, match="async with"):
                await call("a")

    async def other_loop() -> None:
        with pytest.raises(SessionClosedError, match="another event loop"):
            await session.poll("a")

    async def main() -> None:
        async with session:
            assert "open" in repr(session)
            with pytest.raises(SessionClosedError, match="open already"):
                await session.__aenter__()
            await asyncio.to_thread(asyncio.run, other_loop())

    run(unopened())
    run(main())
    run(unopened())
    assert "closed" in repr(session)


def test_case_32_a_session_may_be_opened_again_in_another_loop() -> None:
    """asyncio.run twice with one session object is no trap."""
    session: CambSession | None = None

    async def once() -> None:
        nonlocal session
        async with Simulator() as simulator:
            session = session or CambSession(
                "simulator-key", base_url=simulator.base_url
            )
            if session.base_url == simulator.base_url:
                async with session:
                    await session.poll(simulator.add_task())

    run(once())
    assert session is not None

    async def again() -> None:
        assert session is not None
        async with session:
            with pytest.raises(APIConnectionError):
                await session.poll("a")

    run(again())


def test_case_32_a_key_may_change_in_one_loop_after_the_other() -> None:
    """Those who wait for the same key wait in the loop that they are in."""
    asked: list[str] = []

    with ThreadedSimulator() as simulator:
        task = simulator.add_task(after=1000)

        async def provide() -> str:
            await asyncio.sleep(0.01)
            asked.append(simulator.api_key)
            return asked[-1]

        session = CambSession(provide, base_url=simulator.base_url)

        async def several() -> None:
            async with session as camb:
                await asyncio.gather(*(camb.poll(task) for _ in range(3)))

        run(several())
        simulator.api_key = "another-key"
        run(several())

    assert ["simulator-key", "another-key"] == asked


def test_case_32_no_request_leaves_when_the_block_is_left() -> None:
    """Not even one whose turn has come, by a client session that stays open."""

    async def main() -> None:
        async with Simulator() as simulator, aiohttp.ClientSession() as client:
            async with CambSession(
                simulator.api_key,
                base_url=simulator.base_url,
                client_session=client,
                limits=Limits(max_in_flight=1, max_rate=None),
            ) as camb:
                task = simulator.add_task()
                late = asyncio.create_task(camb.poll(task))
                await camb.poll(task)
            with pytest.raises(SessionClosedError):
                await late
            assert 1 == len(simulator.requests)

    run(main())


def test_case_32_two_loops_one_after_the_other_are_silent() -> None:
    """asyncio.run twice in a process, with the same session object."""
    program = f"""{IMPORTS}
camb = CambSession()

async def main():
    async with camb:
        print((await camb.poll("a")).raw_status)

asyncio.run(main())
asyncio.run(main())
"""

    async def main() -> str:
        async with never_ending() as simulator:
            return await quiet(program, simulator)

    assert "PENDING\nPENDING\n" == run(main())


def test_case_32_what_is_made_and_never_entered_is_silent() -> None:
    """Neither a session nor a watcher holds anything before it is entered."""
    program = in_a_loop("""
    camb = CambSession()
    TaskWatcher(camb, ["a"])
    camb.watch(["a"])
    try:
        await camb.poll("a")
    except SessionClosedError as error:
        print(error)
""")

    async def main() -> str:
        async with never_ending() as simulator:
            return await quiet(program, simulator)

    assert "async with CambSession()" in run(main())


def test_case_32_a_forked_child_is_told_and_may_open_its_own() -> None:
    """The connections are the parent's, who goes on as if nothing had happened."""
    program = in_a_loop("""
    async def child(inherited):
        try:
            await inherited.poll("a")
        except SessionClosedError as error:
            print(error)
        async with CambSession() as camb:
            print((await camb.poll("a")).raw_status)

    async with CambSession() as camb:
        await camb.poll("a")
        if not (pid := os.fork()):
            asyncio.run(child(camb))
            sys.stdout.flush()
            os._exit(0)
        print(os.waitpid(pid, 0)[1], (await camb.poll("a")).raw_status)
""")

    async def main() -> list[str]:
        async with never_ending() as simulator:
            return (await quiet(program, simulator)).splitlines()

    told, fresh, parent = run(main())

    assert "opened in another event loop: open one in this" in told
    assert "PENDING" == fresh
    assert "0 PENDING" == parent


# 33: many polls, many failures.


FAILURES = ("500", "disconnect", "bad_json", "truncate_content_length", "html_200")


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "rounds", [10, pytest.param(100, marks=pytest.mark.slow)], ids=["few", "many"]
)
def test_case_33_polls_and_failures_leave_nothing_behind(
    rounds: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Each round has two hundred polls and fifty failures; memory stays flat."""
    caplog.set_level(logging.CRITICAL, "camb_async")  # pytest keeps what is logged

    async def main() -> tuple[list[int], int, int]:
        objects, failed = list[int](), 0
        async with Simulator() as simulator:
            open_before = _open_files()
            limits = Limits(max_in_flight=50, max_rate=None)
            async with CambSession(
                simulator.api_key, base_url=simulator.base_url, limits=limits
            ) as camb:
                tasks = [simulator.add_task(status="PENDING") for _ in range(50)]
                for number in range(rounds):
                    async with camb.watch(tasks, schedule=EVERY_SECOND) as watcher:
                        await asyncio.sleep(3)
                        fault = FAILURES[number % len(FAILURES)]
                        simulator.fail(fault, times=50)
                        await asyncio.sleep(3)
                        failed += watcher.stats().failed_polls
                    simulator.heal()
                    simulator.requests.clear()
                    objects.append(_objects())
            await asyncio.sleep(1)
            return objects, failed, _open_files() - open_before

    objects, failed, left_open = virtual_time.run(main())
    first, last = objects[len(FAILURES)], objects[-1]

    assert failed >= 25 * rounds
    assert last - first < 200
    assert 0 == left_open


def _objects() -> int:
    gc.collect()
    # In its debug mode asyncio keeps with each handle where it was made.
    debugging = traceback.FrameSummary | traceback.StackSummary
    return sum(not isinstance(each, debugging) for each in gc.get_objects())


def _open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())
