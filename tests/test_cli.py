"""What the commands write, and where."""

from __future__ import annotations

import asyncio
import sys
from datetime import datetime

import pytest

from camb_async import CambSession, TaskKind, __version__
from camb_async.simulator import Simulator

from .cli_process import CANARY, environment, finish, run, started


_DESCRIPTION = (
    "A calm and friendly voice that speaks slowly and clearly, of somebody in the "
    "middle of life who likes to explain things to children"
)
_FIELDS = {
    *("task_id", "kind", "previous", "status", "raw_status", "run_id", "is_final"),
    *("succeeded", "error", "exception_reason", "message", "at", "elapsed"),
    *("uncertainty", "polls"),
}


def test_version() -> None:
    """``python -m camb_async --version`` tells the version, on stdout."""
    ended = asyncio.run(run("--version"))

    assert (0, f"camb-async {__version__}\n", "") == (ended.code, ended.out, ended.err)


def test_help_names_all_commands() -> None:
    """``--help`` names the commands, the variables and the exit codes."""
    ended = asyncio.run(run("--help"))

    assert 0 == ended.code
    for word in ("demo", "watch", "status", "simulate", "CAMB_API_KEY", "6 deadline"):
        assert word in ended.out


@pytest.mark.parametrize("missing", ["typer", "rich", "platformdirs"])
def test_without_its_extra(missing: str) -> None:
    """Without one of these it says in one line what to install, and exits 2."""
    code = (
        f"import sys; sys.modules[{missing!r}] = None; "
        "from camb_async.cli import main; main()"
    )

    async def main() -> tuple[int | None, bytes, bytes]:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", code, env=environment(), stdout=-1, stderr=-1
        )
        out, err = await process.communicate()
        return process.returncode, out, err

    ended, out, err = asyncio.run(main())

    assert (2, b"") == (ended, out)
    assert b'The command line needs an extra: pip install "camb-async[cli]"\n' == err


def test_importing_the_package_needs_no_extra() -> None:
    """``import camb_async.cli`` loads neither typer nor rich nor the simulator."""
    code = (
        "import sys, camb_async.cli; "
        "print({'typer', 'rich', 'camb_async.simulator'} & set(sys.modules))"
    )

    async def main() -> bytes:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", code, env=environment(), stdout=-1
        )
        out, _err = await process.communicate()
        return out

    assert b"set()\n" == asyncio.run(main())


def test_watch_writes_a_line_for_each_change() -> None:
    """Lines are columns that awk and grep can use; the summary is on stderr."""

    async def main() -> None:
        async with Simulator() as simulator:
            answers = ["PENDING", "PENDING", "QUEUED UP", "SUCCESS"]
            good = simulator.add_task("good", answers=answers, run_id=0)
            bad = simulator.add_task(
                "bad-one",
                status="ERROR",
                after=0.0,
                exception_reason="INTERNAL_ERROR",
                message="two\nlines \x1b[2J",
            )
            ended = await run(
                "watch", good, bad, good, "--interval", "0.1", simulator=simulator
            )
        columns = [line.split() for line in ended.lines()]
        story = [" ".join(each[2:6]) for each in columns if each[1] == good]

        assert 1 == ended.code
        assert [
            "NEW -> PENDING run_id=-",
            "PENDING -> UNKNOWN(QUEUED_UP) run_id=-",
            "UNKNOWN -> SUCCESS run_id=0",
        ] == story

        (failure,) = (line for line in ended.lines() if bad in line)

        assert failure.endswith("1 poll   INTERNAL_ERROR: two lines \\x1b[2J")
        assert len({line.index(" -> ") for line in ended.lines()} - {0}) <= 3
        assert "2 of 2 tasks finished" in ended.err
        assert "✅ SUCCESS" in ended.err
        assert "review_inputs" in ended.err
        assert "\x1b" not in ended.out + ended.err

    asyncio.run(main())


def test_watch_json() -> None:
    """With --json there is one object for each transition, with all of it."""

    async def main() -> None:
        async with Simulator() as simulator:
            good = simulator.add_task(answers=["PENDING", "success"], run_id=123)
            bad = simulator.add_task(
                kind=TaskKind.DUB,
                status="ERROR",
                after=0.0,
                exception_reason="INTERNAL_ERROR",
                message={"why": "?"},
            )
            ids = (good, f"dub:{bad}")
            options = ("--json", "--interval", "0.1")
            ended = await run("watch", *ids, *options, simulator=simulator)
        objects = ended.objects()
        first, last = [each for each in objects if each["task_id"] == good]
        (failure,) = [each for each in objects if each["task_id"] == bad]

        assert {frozenset(_FIELDS)} == {frozenset(each) for each in objects}
        assert (None, "PENDING", False) == (
            first["previous"],
            first["status"],
            first["is_final"],
        )
        assert ("PENDING", "SUCCESS", "success", 123, True, True, None, 2) == tuple(
            last[name]
            for name in (
                *("previous", "status", "raw_status", "run_id", "is_final"),
                *("succeeded", "error", "polls"),
            )
        )
        assert datetime.fromisoformat(last["at"]).utcoffset() is not None
        assert 0 < last["uncertainty"] <= last["elapsed"] < 5
        assert ("dub", "INTERNAL_ERROR", {"why": "?"}, "TaskFailedError") == (
            failure["kind"],
            failure["exception_reason"],
            failure["message"],
            failure["error"]["type"],
        )
        assert bad in failure["error"]["message"]

    asyncio.run(main())


def test_watch_reads_thousands_of_ids_from_stdin() -> None:
    """Blank lines, comments, repetitions and a byte order mark are fine."""

    async def main() -> None:
        async with Simulator() as simulator:
            ids = [simulator.add_task(f"task-{n}", after=0.0) for n in range(3000)]
            stdin = "\n".join(
                ["\ufeff# a comment", "", *ids, f"  {ids[0]}  # again", ids[1]]
            )
            ended = await run(
                *("watch", "-", "--json", "--max-rate", "5000"),
                simulator=simulator,
                stdin=stdin,
            )
        objects = ended.objects()

        assert (0, 3000) == (ended.code, len(objects))
        assert set(ids) == {each["task_id"] for each in objects}
        assert "3,000 of 3,000 tasks finished" in ended.err

    asyncio.run(main())


def test_watch_of_nothing() -> None:
    """An empty list is no error: nothing failed."""
    ended = asyncio.run(run("watch", "-", stdin="# none today\n"))

    assert (0, "") == (ended.code, ended.out)
    assert "nothing to watch" in ended.err


def test_watch_tells_where_a_bad_id_stands() -> None:
    """A bad id on stdin is refused with its line, before any request."""

    async def main() -> None:
        async with Simulator() as simulator:
            stdin = "good-one\nnot/an/id\n"
            ended = await run("watch", "-", simulator=simulator, stdin=stdin)

            assert (2, "") == (ended.code, ended.out)
            assert "stdin, line 2: Not a task id: 'not/an/id'" in ended.err
            assert 0 == len(simulator.requests)

    asyncio.run(main())


def test_watch_past_its_deadline_tells_how_to_go_on() -> None:
    """After the deadline stderr has the command that waits on."""

    async def main() -> None:
        async with Simulator() as simulator:
            task = simulator.add_task("slow-one", status="PENDING")
            options = ("--deadline", "0.3", "--interval", "0.1")
            ended = await run("watch", task, *options, simulator=simulator)

        assert 6 == ended.code
        assert "PENDING -> DeadlineExceededError" in ended.lines()[-1]
        assert "\n To wait longer: camb-async watch slow-one\n" in ended.err

    asyncio.run(main())


def test_status_writes_one_line_and_an_action() -> None:
    """``status`` reads once: the status on stdout, what to do on stderr."""

    async def main() -> None:
        async with Simulator(api_key=CANARY) as simulator:
            task = simulator.add_task("one", kind=TaskKind.TTS, after=0.0, run_id=7)
            text, as_json = await asyncio.gather(
                run("status", f"tts:{task}", simulator=simulator),
                run("status", f"tts:{task}", "--json", simulator=simulator),
            )

        assert (0, "tts:one  SUCCESS  run_id=7\n") == (text.code, text.out)
        assert "✅ recommended action: download_voice\n" == text.err

        (told,) = as_json.objects()

        assert ("tts", "SUCCESS", 7, True, "download_voice") == tuple(
            told[name] for name in ("kind", "status", "run_id", "succeeded", "action")
        )

    asyncio.run(main())


def test_errors_are_one_line_without_the_key() -> None:
    """What goes wrong is told in one line on stderr; the key is never shown."""

    async def main() -> None:
        async with Simulator() as simulator:
            task = simulator.add_task()
            for command in ("watch", "status"):
                ended = await run(
                    command, task, simulator=simulator, CAMB_API_KEY=CANARY
                )
                last = ended.err.splitlines()[-1]

                assert 3 == ended.code
                assert last.startswith("camb-async: ")
                assert "401" in last

    asyncio.run(main())


def test_simulate_serves_until_it_is_told_to_stop() -> None:
    """The first line is the base URL, and a client can use it at once."""

    async def main() -> None:
        env = environment(CAMB_API_KEY=CANARY)
        async with started("simulate", "--speed", "50", env=env) as process:
            assert process.stdout is not None
            base_url = (await process.stdout.readline()).decode().strip()
            async with CambSession("simulator-key", base_url=base_url) as camb:
                task = await camb.create_text_to_voice(
                    text="Hello", voice_description=_DESCRIPTION
                )
                state = await camb.get_task_status(task)
            process.terminate()
            ended = await finish(process)

        assert base_url.startswith("http://127.0.0.1:")
        assert "PENDING" == state.status
        assert (143, "") == (ended.code, ended.out)
        assert f"export CAMB_BASE_URL={base_url}" in ended.err
        assert "export CAMB_API_KEY=simulator-key" in ended.err

    asyncio.run(main())


def test_simulate_on_a_port_that_is_taken() -> None:
    """A port that cannot be had is a wrong argument, told in one line."""

    async def main() -> None:
        async with Simulator() as simulator:
            port = simulator.base_url.rpartition(":")[2].partition("/")[0]
            ended = await run("simulate", "--port", port)

        assert (2, "") == (ended.code, ended.out)
        assert "the port cannot be had" in ended.err

    asyncio.run(main())
