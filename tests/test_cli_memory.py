"""What the command line keeps of how long tasks take, and what cannot stop it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import stat
from pathlib import Path
from typing import Any

import pytest

from camb_async import AdaptiveSchedule, TaskRef
from camb_async.cli.memory import remembering
from camb_async.cli.screen import Screen
from camb_async.simulator import Scenario, Simulator

from .cli_process import (
    COMMAND,
    Ended,
    environment,
    finish,
    run,
    run_in_terminal,
    started,
)
from .helpers import DESCRIPTION


_NEWER = '{"version": 99, "anything": true}'


def _file_for(simulator: Simulator, home: Path) -> Path:
    port = simulator.base_url.rpartition(":")[2].partition("/")[0]
    return home / "camb-async" / f"durations-127.0.0.1_{port}.json"


def _tasks_in(path: Path) -> list[Any]:
    tasks: list[Any] = json.loads(path.read_text())["kinds"]["text-to-voice"]["tasks"]
    return tasks


def _names_in(path: Path) -> list[str]:
    return sorted(each.name for each in path.iterdir())


def _service() -> Simulator:
    return Simulator(Scenario(median=0.05))


async def _voice(simulator: Simulator, home: Path, *options: str) -> Ended:
    args = ("voice", DESCRIPTION, "--text", "Hello", "--out", str(home / "out"))
    return await run(*args, *options, simulator=simulator, XDG_STATE_HOME=str(home))


def test_one_run_learns_from_the_one_before(tmp_path: Path) -> None:
    """A file of its owner's only holds the durations of both, and no task's id."""

    async def main() -> None:
        async with _service() as simulator:
            path = _file_for(simulator, tmp_path)
            first = await _voice(simulator, tmp_path, "--memory")
            after_one = len(_tasks_in(path))
            second = await _voice(simulator, tmp_path, "--memory")
        (created,) = re.findall("created task (.*)", first.err)

        assert (0, 0) == (first.code, second.code)
        assert (1, 2) == (after_one, len(_tasks_in(path)))
        assert 0o600 == stat.S_IMODE(path.stat().st_mode)
        assert 0o700 == stat.S_IMODE(path.parent.stat().st_mode)
        assert [path.name] == _names_in(path.parent)
        assert created not in path.read_text()
        assert "what was learnt" not in first.err + second.err

    asyncio.run(main())


def test_watch_knows_what_voice_learnt(tmp_path: Path) -> None:
    """On a terminal it says at once when a task is likely to be done."""

    async def main() -> str:
        async with Simulator() as simulator:
            schedule = AdaptiveSchedule()
            for number in range(5):
                schedule.learn(TaskRef(f"{number}"), 1.0, 2.0)
            path = _file_for(simulator, tmp_path)
            path.parent.mkdir()
            path.write_text(json.dumps(schedule.to_dict()))
            task = simulator.add_task(answers=["PENDING", "PENDING", "SUCCESS"])
            _code, written = await run_in_terminal(
                *("watch", task, "--memory"),
                simulator=simulator,
                XDG_STATE_HOME=str(tmp_path),
            )
            return written

    assert "likely left" in asyncio.run(main())


@pytest.mark.parametrize("options", [(), ("--no-memory",)])
def test_what_is_simulated_is_not_kept(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    """A service on this machine leaves nothing behind unless that is asked for."""

    async def main() -> int | None:
        async with _service() as simulator:
            return (await _voice(simulator, tmp_path, *options)).code

    assert 0 == asyncio.run(main())
    assert ["out"] == _names_in(tmp_path)


@pytest.mark.parametrize("options", [(), ("--interval", "0.1")])
def test_nothing_is_written_where_nothing_was_learnt(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    """A task whose beginning nobody knows teaches nothing."""

    async def main() -> int | None:
        async with Simulator() as simulator:
            task = simulator.add_task(after=0.0)
            args = ("watch", task, "--memory", *options)
            variables = {"XDG_STATE_HOME": str(tmp_path)}
            return (await run(*args, simulator=simulator, **variables)).code

    assert 0 == asyncio.run(main())
    assert [] == _names_in(tmp_path)


def test_ctrl_c_loses_nothing(tmp_path: Path) -> None:
    """What was learnt before the signal is known in the next run."""

    async def main() -> None:
        async with _service() as simulator:
            simulator.fail("hang", path="/previews/1/1")
            args = ("voice", DESCRIPTION, "--text", "Hello", "--memory")
            env = environment(simulator, XDG_STATE_HOME=str(tmp_path))
            async with started(*args, env=env) as process:
                assert process.stderr is not None
                while b"fetching" not in await process.stderr.readline():
                    pass
                process.send_signal(signal.SIGINT)
                ended = await finish(process)
            path = _file_for(simulator, tmp_path)

        assert 130 == ended.code
        assert 1 == len(_tasks_in(path))

    asyncio.run(main())


def test_a_signal_in_the_block_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However the block is left, what was learnt in it is kept."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    base_url, screen = "https://api.example.com", Screen.of_process()
    with (
        contextlib.suppress(asyncio.CancelledError),
        remembering(base_url, screen, wanted=None) as schedule,
    ):
        schedule.learn(TaskRef("a"), 1.0, 2.0)
        raise asyncio.CancelledError

    assert 2 == _learn(base_url)


@pytest.mark.parametrize(
    ("written", "is_left"),
    [
        (b"{", False),
        (b"\xff", False),
        (b"[]", False),
        (b"[" * 100_000, False),
        (b"1" * 5000, False),
        (b'{"version": 1, "kinds": {"tts": {"tasks": [[1]], "bias": 1}}}', False),
        (b" " * 2**20 + b"{}", False),
        (_NEWER.encode(), True),
    ],
    ids=[
        *("torn", "no text", "a list", "deep", "a long number", "wrong", "large"),
        "newer",
    ],
)
def test_a_file_that_cannot_be_used(
    tmp_path: Path, written: bytes, *, is_left: bool
) -> None:
    """It is told in one line, and written anew; that of a later release is left."""

    async def main() -> None:
        async with _service() as simulator:
            path = _file_for(simulator, tmp_path)
            path.parent.mkdir()
            path.write_bytes(written)
            ended = await _voice(simulator, tmp_path, "--memory")

        assert 0 == ended.code
        assert 1 == ended.err.count("what was learnt of durations cannot be used")
        assert all(len(line) < 400 for line in ended.err.splitlines())
        if is_left:
            assert _NEWER == path.read_text()
        else:
            assert 1 == len(_tasks_in(path))

    asyncio.run(main())


@pytest.mark.parametrize("obstacle", ["directory", "pipe", "file above"])
def test_a_place_that_cannot_be_read(tmp_path: Path, obstacle: str) -> None:
    """What is no file is told in one line and left alone; nobody waits for it."""

    async def main() -> None:
        async with _service() as simulator:
            path = _file_for(simulator, tmp_path)
            if obstacle == "file above":
                path.parent.write_text("mine")
            else:
                path.parent.mkdir()
                {"directory": os.mkdir, "pipe": os.mkfifo}[obstacle](path)
            ended = await _voice(simulator, tmp_path, "--memory")

        assert 0 == ended.code
        assert 1 == ended.err.count("what was learnt of durations cannot be read")
        assert path.parent.is_file() or not path.is_file()

    asyncio.run(main())


def test_a_full_disk(tmp_path: Path) -> None:
    """What cannot be written is told in one line, and leaves no half file."""

    async def main() -> tuple[Ended, list[str]]:
        async with _service() as simulator:
            simulator.fail("404", times=None, path="/text-to-voice-result")
            env = environment(simulator, XDG_STATE_HOME=str(tmp_path))
            # What measures coverage would write a file, too.
            env = {k: v for k, v in env.items() if not k.startswith("COVERAGE")}
            process = await asyncio.create_subprocess_exec(
                *("sh", "-c", 'ulimit -f 0; exec "$@"', "sh"),
                *(*COMMAND, "voice", DESCRIPTION, "--text", "Hello", "--memory"),
                env=env,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            ended = await finish(process)
            return ended, _names_in(_file_for(simulator, tmp_path).parent)

    ended, names = asyncio.run(main())

    assert "SUCCESS" in ended.err
    assert 1 == ended.err.count("what was learnt of durations cannot be kept")
    assert [] == names


def test_several_processes_at_once(tmp_path: Path) -> None:
    """Each finds a whole file, and leaves one."""

    async def main() -> None:
        async with _service() as simulator:
            runs = (_voice(simulator, tmp_path, "--memory") for _ in range(4))
            ended = await asyncio.gather(*runs)
            path = _file_for(simulator, tmp_path)

        assert {0} == {each.code for each in ended}
        assert "what was learnt" not in "".join(each.err for each in ended)
        assert len(_tasks_in(path)) in range(1, 5)
        assert [path.name] == _names_in(path.parent)

    asyncio.run(main())


def _learn(base_url: str, *, wanted: bool | None = None) -> int:
    """Learn of one task; return of how many tasks of that service is known now."""
    screen = Screen.of_process()
    with remembering(base_url, screen, wanted=wanted) as schedule:
        schedule.learn(TaskRef("a"), 1.0, 2.0)
        kinds = schedule.to_dict()["kinds"]
    return len(kinds["text-to-voice"]["tasks"])


def test_each_service_has_a_memory_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The origin tells services apart, and not the path; this machine is left out."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    known = [
        _learn("https://API.example.com/apis"),
        _learn("https://api.example.com:443/other"),
        _learn("https://api.example.com:8443/apis"),
        _learn("https://[::ffff:1.2.3.4]/apis"),
        _learn("HTTP://localhost:8080/apis"),
        _learn("https://api.example.com/apis", wanted=False),
    ]

    assert [1, 2, 1, 1, 1, 1] == known
    assert [
        "durations-_ffff_1.2.3.4_.json",
        "durations-api.example.com.json",
        "durations-api.example.com_8443.json",
    ] == sorted(_names_in(tmp_path / "camb-async"))


def test_a_user_without_a_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where no home is known, nothing is kept, and nothing left where one stands."""
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.delenv("HOME", raising=False)
    nobody: dict[int, Any] = {}
    monkeypatch.setattr("pwd.getpwuid", nobody.__getitem__)
    monkeypatch.chdir(tmp_path)

    assert 1 == _learn("https://api.example.com")
    assert [] == _names_in(tmp_path)


def test_what_is_kept_is_what_a_schedule_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is ``to_dict`` as JSON: a program of one's own can read it."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    _learn("https://api.example.com")
    (path,) = (tmp_path / "camb-async").iterdir()
    data = json.loads(path.read_text())

    assert data == AdaptiveSchedule.from_dict(data).to_dict()
