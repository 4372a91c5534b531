"""``camb-async voice``: from a description to files, in processes of their own."""

from __future__ import annotations

import asyncio
import io
import json
import os
import pty
import re
import shlex
import signal
import wave
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from camb_async import TaskStatus, WatcherStats
from camb_async.cli.app import app
from camb_async.cli.board import Board
from camb_async.cli.demo import demo_summary
from camb_async.simulator import Fault, Scenario, Simulator

from .cli_process import (
    CANARY,
    COMMAND,
    Ended,
    environment,
    finish,
    run,
    run_in_terminal,
    started,
)


_DESCRIPTION = (
    "A calm and friendly voice that speaks slowly and clearly, of somebody in the "
    "middle of life who likes to explain things to children"
)
_WISH = (_DESCRIPTION, "--text", "Good evening.")
_QUICK = Scenario(median=0.05)
_ENDLESS = Scenario(median=1000.0)
_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_COLOR = re.compile(r"\x1b\[[0-9;]*3[1-6]m")


def _seconds_of(path: Path) -> float:
    with wave.open(str(path)) as file:
        return float(file.getnframes() / file.getframerate())


def _files(directory: Path) -> list[Path]:
    return sorted(directory.iterdir())


def _created(ended: Ended) -> str:
    """Return the id of the task that a process said it created."""
    (task_id,) = re.findall(r"^created task (\S+)$", ended.err, re.MULTILINE)
    return str(task_id)


async def _until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - another process brings it about
            await asyncio.sleep(0.01)


def test_a_description_becomes_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two WAV files land in the current directory; the talk is a few plain lines."""

    async def main() -> None:
        async with Simulator(_QUICK, api_key=CANARY) as simulator:
            project = ("--project-name", "Evening news")
            ended = await run("voice", *_WISH, *project, simulator=simulator)
        created, *_, result, first, second = simulator.requests
        run_id = result.path.rpartition("/")[2]
        names = [f"{run_id}-1.wav", f"{run_id}-2.wav"]

        assert (0, names) == (ended.code, ended.lines())
        assert names == list(map(str, _files(Path())))
        assert [1.0, 1.0] == [_seconds_of(Path(name)) for name in names]
        assert {
            "text": "Good evening.",
            "voice_description": _DESCRIPTION,
            "project_name": "Evening news",
        } == json.loads(created.body)
        assert CANARY not in str([first.headers, second.headers])

        lines = ended.err.splitlines()

        assert f"created task {_created(ended)}" == lines[0]
        assert re.fullmatch(r"SUCCESS after \d\.\d s", lines[-4])
        assert f"fetching the previews of run {run_id}" == lines[-3]
        assert [f"saved {name} (32,044 bytes)" for name in names] == sorted(lines[-2:])
        assert "\x1b" not in ended.err
        assert "18" not in ended.err.replace(run_id, "").replace(_created(ended), "")

    monkeypatch.chdir(tmp_path)
    asyncio.run(main())


def test_json(tmp_path: Path) -> None:
    """With --json stdout is one object, of a success and of a failure alike."""

    async def main() -> None:
        failing = Scenario(median=0.05, outcomes={TaskStatus.ERROR: 1})
        async with (
            Simulator(_QUICK, api_key=CANARY) as fine,
            Simulator(failing, api_key=CANARY) as broken,
        ):
            options = ("--json", "--out", str(tmp_path / "new" / "er"))
            good, bad, refused = await asyncio.gather(
                run("voice", *_WISH, *options, simulator=fine),
                run("voice", *_WISH, *options, simulator=broken),
                run("voice", *_WISH, *options, simulator=fine, CAMB_API_KEY="x"),
            )

        ((told,), (told_bad,), (told_refused,)) = (
            each.objects() for each in (good, bad, refused)
        )
        run_id = told["run_id"]

        assert (0, 1, 3) == (good.code, bad.code, refused.code)
        assert {
            "task_id": _created(good),
            "run_id": run_id,
            "status": "SUCCESS",
            "elapsed": told["elapsed"],
            "files": [f"{tmp_path}/new/er/{run_id}-{n}.wav" for n in (1, 2)],
            "error": None,
        } == told
        assert 0 < told["elapsed"] < 10
        assert all(_seconds_of(Path(name)) for name in told["files"])
        assert (_created(bad), "ERROR", [], "TaskFailedError") == (
            told_bad["task_id"],
            told_bad["status"],
            told_bad["files"],
            told_bad["error"]["type"],
        )
        assert told_bad["error"]["message"] in bad.err
        assert (None, None, None, [], "AuthenticationError") == (
            *(told_refused[name] for name in ("task_id", "run_id", "status")),
            told_refused["files"],
            told_refused["error"]["type"],
        )

    asyncio.run(main())


def test_on_a_terminal(tmp_path: Path) -> None:
    """There is a spinner while it waits and a bar for each preview, then the paths."""

    async def shown_with(name: str, **extra: str) -> tuple[int, str]:
        async with Simulator(_QUICK, api_key=CANARY) as simulator:
            args = ("voice", *_WISH, "--out", str(tmp_path / name))
            return await run_in_terminal(*args, simulator=simulator, **extra)

    async def main() -> None:
        colored, dumb = await asyncio.gather(
            shown_with("a"), shown_with("b", TERM="dumb")
        )
        shown = _ESCAPE.sub("", colored[1])
        paths = _files(tmp_path / "a")

        assert (0, 0) == (colored[0], dumb[0])
        assert re.search(r"[⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏] ⏳ (PENDING|not seen yet) · \d\.\d s", shown)
        assert re.search(r"preview 1 +━+ +32.0/32.0 kB", shown)
        assert re.search(r"preview 2 +━+ +32.0/32.0 kB", shown)
        assert [str(path) for path in paths] == shown.splitlines()[-2:]
        assert "\x1b[?25h" in colored[1]  # the cursor is back
        assert _COLOR.search(colored[1])
        assert "\x1b" not in dumb[1]
        assert "saved " in dumb[1]
        assert CANARY not in colored[1] + dumb[1]

    asyncio.run(main())


def test_on_a_terminal_with_stdout_in_a_pipe(tmp_path: Path) -> None:
    """``| player`` gets nothing but paths while the terminal shows how far it is."""

    async def main() -> None:
        master, slave = pty.openpty()
        async with Simulator(_QUICK) as simulator:
            process = await asyncio.create_subprocess_exec(
                *(*COMMAND, "voice", *_WISH, "--out", str(tmp_path)),
                env=environment(simulator, FORCE_COLOR="1"),
                stdout=asyncio.subprocess.PIPE,
                stderr=slave,
            )
            os.close(slave)
            out, _ = await process.communicate()
        talk = os.read(master, 65536).decode()
        os.close(master)

        assert 0 == process.returncode
        assert list(map(str, _files(tmp_path))) == out.decode().splitlines()
        assert "\x1b[?25l" in talk  # something moved there

    asyncio.run(main())


def test_a_second_run_overwrites_nothing(tmp_path: Path) -> None:
    """``--task`` fetches a task again, but not over files that are there."""

    async def main() -> None:
        out = ("--out", str(tmp_path))
        async with Simulator(_QUICK, api_key=CANARY) as simulator:
            task = simulator.add_task("done", after=0.0, run_id=0)
            first = await run("voice", "--task", task, *out, simulator=simulator)
            paths = _files(tmp_path)
            paths[1].write_bytes(b"mine")
            again = ("voice", "--task", task, *out, "--json")
            second = await run(*again, simulator=simulator)
            resume = second.err.splitlines()[-1].removeprefix("To resume: ")
            third = await run(*shlex.split(resume)[1:], simulator=simulator)
            methods = {request.method for request in simulator.requests}

        assert {"GET"} == methods
        assert (0, [tmp_path / "0-1.wav", tmp_path / "0-2.wav"]) == (first.code, paths)
        assert [str(path) for path in paths] == first.lines()
        assert (5, 1) == (second.code, len(second.lines()))
        assert f"camb-async: {paths[0]} is there already and was not" in second.err
        assert "overwrite=" not in second.err
        assert "DownloadError" == second.objects()[0]["error"]["type"]
        assert b"mine" == paths[1].read_bytes()
        assert f"camb-async voice --task done --out {tmp_path}/run-0" == resume
        assert 0 == third.code
        assert [1.0, 1.0] == [_seconds_of(Path(line)) for line in third.lines()]

    asyncio.run(main())


def test_a_kill_leaves_no_half_file(tmp_path: Path) -> None:
    """Whatever bears a preview's name after a SIGKILL is whole."""

    async def main() -> None:
        async with Simulator() as simulator:
            task = simulator.add_task("done", after=0.0, run_id=1)
            simulator.fail(Fault("drip", seconds=0.01), path="/previews/1/2")
            args = ("voice", "--task", task, "--out", str(tmp_path))
            async with started(*args, env=environment(simulator)) as process:
                await _until((tmp_path / "1-1.wav").exists)
                await _until(lambda: len(list(tmp_path.glob(".camb-*.part"))) == 1)
                process.kill()
                ended = await finish(process)
            visible = [path for path in _files(tmp_path) if path.name[0] != "."]

            assert -signal.SIGKILL == ended.code
            assert [tmp_path / "1-1.wav"] == visible
            assert 1.0 == _seconds_of(visible[0])

    asyncio.run(main())


def test_a_signal_while_it_waits(tmp_path: Path) -> None:
    """It says that the task goes on, and which command takes it up again."""
    out = str(tmp_path / "my voices")

    async def ended_by(signum: int) -> Ended:
        async with Simulator(_ENDLESS, api_key=CANARY) as simulator:
            args = ("voice", *_WISH, "--json", "--out", out)
            async with started(*args, env=environment(simulator)) as process:
                await _until(lambda: len(simulator.requests) > 1)
                process.send_signal(signum)
                return await finish(process)

    async def main() -> list[Ended]:
        return await asyncio.gather(*map(ended_by, (signal.SIGINT, signal.SIGTERM)))

    both = asyncio.run(main())

    assert [130, 143] == [ended.code for ended in both]
    for ended in both:
        (told,) = ended.objects()
        *_, goes_on, resume = ended.err.splitlines()
        command = f"camb-async voice --task {_created(ended)} --out '{out}'"

        assert "camb-async: interrupted; the task goes on remotely" == goes_on
        assert f"To resume: {command}" == resume
        assert (_created(ended), [], "Interrupted") == (
            told["task_id"],
            told["files"],
            told["error"]["type"],
        )


def test_a_signal_while_the_task_is_created() -> None:
    """Nobody knows whether there is a task then, and it says so."""

    async def main() -> Ended:
        async with Simulator() as simulator:
            simulator.fail("hang", path="/text-to-voice")
            args = ("voice", *_WISH)
            async with started(*args, env=environment(simulator)) as process:
                await _until(lambda: simulator.requests)
                process.send_signal(signal.SIGINT)
                return await finish(process)

    ended = asyncio.run(main())

    assert (130, "") == (ended.code, ended.out)
    assert "the task may exist, so look in the studio" in ended.err
    assert "To resume" not in ended.err


def test_a_signal_while_it_fetches(tmp_path: Path) -> None:
    """What is whole stays and is told; nothing else is left, hidden or not."""

    async def main() -> None:
        async with Simulator() as simulator:
            task = simulator.add_task("done", after=0.0, run_id=1)
            simulator.fail(Fault("drip", seconds=0.01), path="/previews/1/2")
            args = ("voice", "--task", task, "--out", str(tmp_path))
            async with started(*args, env=environment(simulator)) as process:
                await _until((tmp_path / "1-1.wav").exists)
                assert process.stderr is not None
                while b"saved" not in await process.stderr.readline():
                    pass
                process.send_signal(signal.SIGINT)
                ended = await finish(process)

            assert (130, [f"{tmp_path}/1-1.wav"]) == (ended.code, ended.lines())
            assert [tmp_path / "1-1.wav"] == _files(tmp_path)
            assert "interrupted; previews saved: 1" in ended.err
            assert f"--task done --out {tmp_path}/run-1" in ended.err

    asyncio.run(main())


def _ending(status: str) -> Callable[[Simulator], str]:
    return lambda simulator: simulator.add_task("it", status=status, after=0.0)


def _failing(fault: str, path: str) -> Callable[[Simulator], str]:
    def prepare(simulator: Simulator) -> str:
        simulator.fail(fault, times=None, path=path)
        return simulator.add_task("it", after=0.0)

    return prepare


#: What goes wrong with a task, the exit code, and how stderr ends.
_TASKS: dict[str, tuple[Callable[[Simulator], str], int, str]] = {
    "TIMEOUT": (_ending("TIMEOUT"), 1, r"camb-async: .*\bTIMEOUT\b.*"),
    "no credits": (_ending("PAYMENT_REQUIRED"), 4, r"camb-async: .*credits.*"),
    "deadline": (_ending("PENDING"), 6, r"To wait longer: .* --task it --out .*"),
    "wrong key": (_failing("401", "/"), 3, r"To resume: .* --task it --out .*"),
    "expired": (_failing("403", "/previews"), 5, "To resume: .*"),
    "no run": (_failing("success_no_run_id", "/text-to-voice/"), 5, "To resume: .*"),
}

#: What goes wrong with the create call, the exit code, and what stderr has.
_CREATES: dict[str, tuple[str, int, str]] = {
    "post_lost": ("post_lost", 5, "was sent and no usable answer came, so the task"),
    "500": ("500", 5, "500.* The task may have been created nevertheless."),
    "422": ("422", 1, "422"),
}


def test_codes_of_failures(tmp_path: Path) -> None:
    """Each way to fail has its code, its line on stderr, and nothing on stdout."""
    slots = asyncio.Semaphore(6)

    async def of_task(name: str) -> tuple[int | None, str, str]:
        out = ("--deadline", "0.3", "--out", str(tmp_path / name))
        async with slots, Simulator(api_key=CANARY) as simulator:
            task = _TASKS[name][0](simulator)
            ended = await run("voice", "--task", task, *out, simulator=simulator)
        return ended.code, ended.out, ended.err.splitlines()[-1]

    async def of_create(name: str) -> tuple[int | None, str, str]:
        async with slots, Simulator(api_key=CANARY) as simulator:
            simulator.fail(_CREATES[name][0], path="/text-to-voice")
            ended = await run("voice", *_WISH, simulator=simulator)
        return ended.code, ended.out, ended.err

    async def main() -> list[list[tuple[int | None, str, str]]]:
        return [
            await asyncio.gather(*map(of_task, _TASKS)),
            await asyncio.gather(*map(of_create, _CREATES)),
        ]

    tasks, creates = asyncio.run(main())

    assert {name: (code, "") for name, (_, code, _) in _TASKS.items()} == {
        name: row[:2] for name, row in zip(_TASKS, tasks, strict=True)
    }
    assert {name: (code, "") for name, (_, code, _) in _CREATES.items()} == {
        name: row[:2] for name, row in zip(_CREATES, creates, strict=True)
    }
    for (_, _, pattern), row in zip(_TASKS.values(), tasks, strict=True):
        assert re.fullmatch(pattern, row[2])
    for (_, _, pattern), row in zip(_CREATES.values(), creates, strict=True):
        assert re.search(pattern, row[2])
        assert "To resume" not in row[2]
    assert [] == list(tmp_path.rglob("*.wav"))


def test_a_short_description_is_told_calmly(tmp_path: Path) -> None:
    """It is one line on stderr, no Python warning, and the voice is made."""

    async def main() -> Ended:
        async with Simulator(_QUICK) as simulator:
            args = ("A warm voice", "--text", "Hello", "--out", str(tmp_path))
            return await run(
                "voice", *args, simulator=simulator, PYTHONWARNINGS="error"
            )

    ended = asyncio.run(main())
    first = ended.err.splitlines()[0]

    assert (0, 2) == (ended.code, len(ended.lines()))
    assert first.startswith("note: The voice description has 3 words and 12 charact")
    assert "Warning" not in ended.err
    assert 1 == ended.err.count("note:")


def test_against_the_simulate_command(tmp_path: Path) -> None:
    """``simulate`` in one process and ``voice`` in another get on with each other."""

    async def main() -> Ended:
        args = ("simulate", "--scenario", "steady", "--speed", "20")
        async with started(*args, env=environment()) as process:
            assert process.stdout is not None
            base_url = (await process.stdout.readline()).decode().strip()
            return await run(
                *("voice", *_WISH, "--out", str(tmp_path)),
                CAMB_BASE_URL=base_url,
                CAMB_API_KEY="simulator-key",
            )

    ended = asyncio.run(main())

    assert 0 == ended.code
    assert [1.0, 1.0] == [_seconds_of(Path(line)) for line in ended.lines()]


def test_the_demo_tells_of_it() -> None:
    """The demo's last words name both ways to go on."""
    stats = WatcherStats(
        watching=0,
        in_flight=0,
        failing=0,
        polls=0,
        failed_polls=0,
        transitions=0,
        finished={},
        lag_p99=0.0,
    )
    console = Console(file=io.StringIO(), width=88)
    with console.capture() as captured:
        console.print(demo_summary(Board([], 40), stats))
    *_, voice, watch = captured.get().splitlines()

    assert 'camb-async voice "DESCRIPTION" --text "TEXT"' in voice
    assert "camb-async watch TASK_ID" in watch


@pytest.mark.parametrize(
    "line",
    [
        "",
        "'A voice'",
        "'A voice' --text ' '",
        "--text Hello",
        "'' --text Hello",
        "--task x 'A voice'",
        "--task x --text Hello",
        "--task x --project-name y",
        "--task not/an/id",
        "--task dub:x",
        "--task x --deadline soon",
        "--task x --out /dev/null",
        "--task x --out /proc/none/of/this",
        f"--task x --out {shlex.quote(__file__)}",
    ],
)
def test_usage_that_is_refused(line: str) -> None:
    """What makes no sense is refused with 2 before anything is done."""
    result = CliRunner().invoke(app, ["voice", *shlex.split(line)])

    assert (2, "") == (result.exit_code, result.stdout)
