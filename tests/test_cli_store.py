"""The command line over stores: ``watch --store``, ``add``, ``work`` and ``tail``."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from camb_async import PostgresStore, SqliteStore
from camb_async.cli.app import app
from camb_async.simulator import Simulator, ThreadedSimulator

from .cli_process import (
    CANARY,
    COMMAND,
    ESCAPE,
    Ended,
    environment,
    finish,
    run,
    run_in_terminal,
    started,
)
from .helpers import until
from .storing import ME, claimed, told


def invoke(*args: str, service: ThreadedSimulator | None = None, **env: str) -> Result:
    """Run a command in this process."""
    if service is not None:
        env |= {"CAMB_BASE_URL": service.base_url, "CAMB_API_KEY": service.api_key}
    result = CliRunner().invoke(app, args, env={"CAMB_STORE": None, **env})
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert CANARY not in result.output
    assert "secret-canary" not in result.output

    return result


def objects(text: str) -> list[dict[str, Any]]:
    """Return the JSON objects of whole lines; a kill may have cut the last one."""
    return [json.loads(line) for line in text.splitlines(keepends=True) if "\n" in line]


def keys(told_of: list[dict[str, Any]]) -> set[tuple[str, str, int]]:
    """Return which transitions these objects are about."""
    return {
        (each["task_id"], each["key"]["watch"], each["key"]["seq"]) for each in told_of
    }


@pytest.fixture
def path(tmp_path: Path) -> str:
    """The path of a store."""
    return str(tmp_path / "voices.db")


@pytest.fixture
def service() -> Iterator[ThreadedSimulator]:
    """A service with a task that ends well, and one that does not."""
    with ThreadedSimulator() as running:
        running.add_task("good", answers=["PENDING", "SUCCESS"])
        running.add_task("bad", status="ERROR", after=0.0)
        yield running


def test_watch_over_a_store_tells_what_watch_tells(
    service: ThreadedSimulator, path: str
) -> None:
    """Lines, a summary, an exit code; and the store is empty in the end."""
    args = ("watch", "good", "bad", "--interval", "0.05", "--store", path)
    ended = invoke(*args, service=service)
    again = invoke("watch", service=service, CAMB_STORE=path)
    story = [line.split()[1:5] for line in ended.stdout.splitlines()]

    assert 1 == ended.exit_code
    assert ["good", "PENDING", "->", "SUCCESS"] in story
    assert ["bad", "NEW", "->", "ERROR"] in story
    assert "2 of 2 tasks finished" in ended.stderr
    assert (0, "") == (again.exit_code, again.stdout)
    assert "the store has no tasks" in again.stderr


def test_watch_over_a_store_on_a_terminal(path: str) -> None:
    """The table of watch: how far all is, what each does next, the line of each end."""

    async def main() -> tuple[int, str]:
        async with Simulator() as simulator:
            simulator.add_task("good", answers=["PENDING"] * 20 + ["SUCCESS"])
            simulator.add_task("bad", answers=["PENDING", "ERROR"])
            args = ("watch", "good", "bad", "--interval", "0.15", "--store", path)
            return await run_in_terminal(*args, simulator=simulator)

    code, written = asyncio.run(main())
    shown = ESCAPE.sub("", written)

    assert 1 == code
    for words in ("next", "poll in ", "1 of 2 finished", "2 of 2 tasks finished"):
        assert words in shown
    assert re.search(r"good +PENDING -> SUCCESS +run_id=[0-9]", shown)
    assert "NEW -> PENDING" not in shown


async def _killed(
    simulator: Simulator, signum: signal.Signals, *args: str, **extra: str
) -> tuple[list[dict[str, Any]], int | None]:
    """Run a watch and end it once it has told of an end and of a beginning."""
    env = environment(simulator, **extra)
    async with started("watch", *args, "--json", env=env) as process:
        assert process.stdout is not None
        lines: list[bytes] = []
        while not {b"quick", b"slow"} <= {line.split(b'"')[3] for line in lines}:
            lines.append(await process.stdout.readline())
        process.send_signal(signum)
        ended = await finish(process)
    return objects(b"".join(lines).decode() + ended.out), ended.code


def _check_both(first: list[dict[str, Any]], second: list[dict[str, Any]]) -> None:
    """What was told by two runs is one story of each task."""
    ends = {each["task_id"]: each for each in (*first, *second) if each["is_final"]}

    assert {"quick": False, "slow": True} == {
        task: end["succeeded"] for task, end in ends.items()
    }
    assert {("quick", 1), ("slow", 1), ("slow", 2)} == {
        (task, seq) for task, _, seq in keys([*first, *second])
    }
    assert 3 == len(keys([*first, *second]))


def test_watch_that_is_killed_and_run_again(path: str) -> None:
    """The same command goes on: nothing is repeated under another key."""

    async def main() -> None:
        async with Simulator() as simulator:
            simulator.add_task("quick", status="ERROR", after=0.0)
            simulator.add_task("slow", status="PENDING")
            args = ("quick", "slow", "--interval", "0.05", "--store", path)
            first, code = await _killed(simulator, signal.SIGKILL, *args)
            simulator.add_task("slow", after=0.0)
            again = await run("watch", *args, "--json", simulator=simulator)
            asked = [each for each in simulator.requests if "quick" in each.path]

        assert (-9, 1) == (code, again.code)
        assert 1 == len(asked)
        assert "2 of 2 tasks finished" in again.err
        _check_both(first, again.objects())

    asyncio.run(main())


def test_watch_over_a_server_that_is_interrupted(dsn: str) -> None:
    """SIGTERM gives all back, and says how to go on without showing the DSN."""

    async def main() -> None:
        async with Simulator() as simulator:
            simulator.add_task("quick", status="ERROR", after=0.0)
            simulator.add_task("slow", status="PENDING")
            args = ("quick", "slow", "--interval", "0.05")
            env = {"CAMB_STORE": dsn}
            first, code = await _killed(simulator, signal.SIGTERM, *args, **env)
            simulator.add_task("slow", after=0.0)
            again = await run(
                "watch", "--json", "--interval", "0.05", simulator=simulator, **env
            )

        assert (143, 1) == (code, again.code)
        _check_both(first, again.objects())

    asyncio.run(main())


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_watch_over_a_server_that_is_killed(dsn: str) -> None:
    """The next run waits until the lease of the killed one has ended."""

    async def main() -> None:
        async with Simulator() as simulator:
            simulator.add_task("quick", status="ERROR", after=0.0)
            simulator.add_task("slow", status="PENDING")
            args = ("--interval", "0.05", "--store", dsn)
            first, code = await _killed(
                simulator, signal.SIGKILL, "quick", "slow", *args
            )
            simulator.add_task("slow", after=0.0)
            again = await run("watch", *args, "--json", simulator=simulator)

        assert (-9, 1) == (code, again.code)
        assert "secret-canary" not in again.err
        _check_both(first, again.objects())

    asyncio.run(main())


@pytest.mark.slow
def test_watch_over_a_server_that_goes_away() -> None:
    """It says so once, polls on, and tells the rest when the server is back."""
    # Here, so that whoever tests something else needs no asyncpg.
    from .postgres import server  # noqa: PLC0415

    async def main() -> Ended:
        async with Simulator() as simulator:
            simulator.add_task("slow", status="PENDING")
            args = ("watch", "slow", "--json", "--interval", "0.05")
            env = environment(simulator, CAMB_STORE=dsn)
            async with started(*args, env=env) as process:
                assert process.stdout is not None
                assert process.stderr is not None
                await process.stdout.readline()
                database.kill()
                first = await process.stderr.readline()
                simulator.add_task("slow", after=0.0)
                await asyncio.to_thread(database.start)
                ended = await finish(process)
        return Ended(ended.code, ended.out, first.decode() + ended.err)

    with server() as database:
        # Without this a server that is killed forgets what it has committed last.
        dsn = f"{database.new_database()}?synchronous_commit=on"
        ended = asyncio.run(main())

    assert 0 == ended.code
    assert [True] == [each["succeeded"] for each in ended.objects()]
    assert 1 == ended.err.count("The store fails, and is tried again: postgresql://127")
    assert "secret-canary" not in ended.err


def test_workers_and_a_tail(dsn: str) -> None:
    """What a worker gives back on SIGTERM another one watches to its end."""
    names = [f"task-{number}" for number in range(4)]

    async def main() -> tuple[Ended, Ended, Ended]:
        async with Simulator() as simulator, PostgresStore(dsn) as store:
            for name in names:
                simulator.add_task(name, status="PENDING")
            await store.add(names)
            env = environment(simulator, CAMB_STORE=dsn)
            tailing = ("tail", "--json", "--until-empty")
            working = ("work", "--until-empty")

            def asked() -> set[str]:
                return {each.path.rpartition("/")[2] for each in simulator.requests}

            async with started(*tailing, env=env) as reader:
                async with started("work", "--capacity", "3", env=env) as first:
                    await until(lambda: 3 == len(asked()))
                    async with started(*working, env=env) as second:
                        await until(lambda: 4 == len(asked()))
                        first.terminate()
                        left = await finish(first)
                        for name in names:
                            simulator.add_task(name, after=0.0)
                        ended = await finish(second)
                return left, ended, await finish(reader)

    left, ended, read = asyncio.run(main())
    finals = [each["task_id"] for each in read.objects() if each["is_final"]]

    assert (143, 0, 0) == (left.code, ended.code, read.code)
    assert ("", "") == (left.out, ended.out)
    assert "gave back 3 tasks" in left.err
    assert names == sorted(finals)
    assert 8 == len(keys(read.objects())) == len(read.objects())
    assert {1, 2} == {each["key"]["seq"] for each in read.objects()}


def _record(path: str, *statuses: str) -> None:
    """Have a store hold a transition of each of these statuses."""

    async def main() -> None:
        async with SqliteStore(path) as store:
            names = [f"task-{number}" for number in range(len(statuses))]
            for task, status in zip(
                await claimed(store, *names), statuses, strict=True
            ):
                await store.record(ME, [told(task, status)])

    asyncio.run(main())


def test_tail_acknowledges_what_it_has_written(path: str) -> None:
    """A reader that has gone got nothing, and so the next one gets it."""
    _record(path, "SUCCESS", "ERROR")

    async def main() -> Ended:
        reader, writer = os.pipe()
        os.close(reader)
        args = ("tail", "--until-empty", "--store", path)
        async with started(*args, env=environment(), stdout=writer) as process:
            os.close(writer)
            return await finish(process)

    gone = asyncio.run(main())
    after = [invoke("tail", "--until-empty", "--store", path) for _ in range(2)]

    assert (141, "") == (gone.code, gone.err)
    assert [0, 0] == [each.exit_code for each in after]
    assert [2, 0] == [len(each.stdout.splitlines()) for each in after]
    assert "NEW -> SUCCESS" in after[0].stdout


@pytest.mark.parametrize("line", ["tail --until-empty", "work --until-empty"])
def test_a_store_that_is_new_is_told(
    service: ThreadedSimulator, path: str, line: str
) -> None:
    """Its path may be mistyped; and once there is one, nothing is said."""
    first, second = (
        invoke(*line.split(), "--store", path, service=service) for _ in range(2)
    )

    assert f"camb-async: {path} is new, and has no tasks yet" in first.stderr
    assert "is new" not in second.stderr


def test_a_process_without_its_streams(path: str) -> None:
    """As some supervisors start one: it works, and what it says goes nowhere."""
    _record(path, "SUCCESS")
    line = "tail --until-empty --store"
    for closed in (">&- 2>&-", "<&- >&- 2>&-"):
        command = f'exec "$@" {closed}'
        done = subprocess.run(  # noqa: S603 - our own program
            ["/bin/sh", "-c", command, "sh", *COMMAND, *line.split(), path],
            env=environment(),
            check=False,
        )
        assert 0 == done.returncode
    added = subprocess.run(  # noqa: S603 - our own program
        ["/bin/sh", "-c", 'exec "$@" <&-', "sh", *COMMAND, "add", "-", "--store", path],
        env=environment(),
        check=False,
        capture_output=True,
    )
    assert (0, b"0\n", b"") == (added.returncode, added.stdout, added.stderr)


def test_add_counts_and_hands_back(service: ThreadedSimulator, path: str) -> None:
    """It tells how many are new; context and deadline are those that were given."""
    service.add_task("done", after=0.0)
    service.add_task("endless", status="PENDING")
    options = ("--store", path, "--deadline", "0.2", "--context", '{"chat": 11}')
    counts = [
        invoke("add", *ids, *options).stdout
        for ids in (("done", "endless"), ("done", "bad", "done"))
    ]
    worked = invoke("work", "--until-empty", "--store", path, service=service)
    read = invoke("tail", "--until-empty", "--json", "--store", path)
    ends = [each for each in objects(read.stdout) if each["is_final"]]

    assert ["2\n", "1\n"] == counts
    assert (0, "") == (worked.exit_code, worked.stdout)
    assert {"done": "SUCCESS", "bad": "ERROR", "endless": "PENDING"} == {
        each["task_id"]: each["status"] for each in ends
    }
    assert [{"chat": 11}] * 3 == [each["context"] for each in ends]


def test_a_refused_key_ends_no_task(service: ThreadedSimulator, path: str) -> None:
    """The exit code is that of the key, and all tasks are there for the next run."""
    args = ("watch", "good", "bad", "--store", path)
    refused = invoke(*args, CAMB_BASE_URL=service.base_url, CAMB_API_KEY=CANARY)
    again = invoke("add", "good", "bad", "--store", path)

    assert (3, "") == (refused.exit_code, refused.stdout)
    assert "401" in refused.stderr
    assert "0\n" == again.stdout


def test_an_outage_is_told(path: str) -> None:
    """Who sees no lines is told once that no poll succeeds."""

    async def main() -> tuple[str, Ended]:
        async with Simulator() as simulator:
            tasks = [simulator.add_task(after=0.0) for _ in range(3)]
            simulator.fail("503", times=None)
            args = ("watch", *tasks, "--store", path)
            async with started(*args, env=environment(simulator)) as process:
                assert process.stderr is not None
                line = await process.stderr.readline()
                simulator.heal()
                return line.decode(), await finish(process)

    line, ended = asyncio.run(main())

    assert line.startswith("camb-async: no poll succeeds; it goes on: The API answered")
    assert 0 == ended.code
    assert ended.err.startswith(" 3 of 3 tasks finished")


def test_how_to_wait_longer(service: ThreadedSimulator, path: str) -> None:
    """After the deadline stderr has the command that waits on over the same store."""
    service.add_task("endless", status="PENDING")
    args = ("watch", "endless", "--deadline", "0.2", "--store", path)
    ended = invoke(*args, service=service)

    assert 6 == ended.exit_code
    assert f"To wait longer: camb-async watch --store {path} endless\n" in ended.stderr


def test_a_store_that_is_held(path: str) -> None:
    """A second process is told which one has the file."""

    async def main() -> Ended:
        async with SqliteStore(path):
            return await run("add", "a", "--store", path)

    refused = asyncio.run(main())

    assert (2, "") == (refused.code, refused.out)
    assert f"voices.db is held by process {os.getpid()}." in refused.err


#: Where nobody answers.
_NOWHERE = "127.0.0.1:9/db"


@pytest.mark.parametrize(
    ("store", "code"),
    [
        (f"postgresql://me:{CANARY}@{_NOWHERE}", 5),
        (f"postgres://me:{CANARY}@{_NOWHERE}?pgbouncer=true", 5),
        (f"postgresql://me@{_NOWHERE}?password={CANARY}", 5),
        (f"postgresql://me:{CANARY}/x@{_NOWHERE}", 2),
        (f"postgresql://me:x@{CANARY}@{_NOWHERE}", 5),
        (f"postgresql://me:{CANARY}@127.0.0.1:port/db", 2),
        (f"postgresql://me:{CANARY}@[::1/db", 2),
        (f"postgresql://me:%{CANARY}@{_NOWHERE}", 5),
        (f"postgresql://me:{CANARY}@{_NOWHERE}?sslmode=nonsense", 2),
        (f"postgresql+asyncpg://me:{CANARY}@{_NOWHERE}", 2),
        (f" postgresql://me:{CANARY}@{_NOWHERE}", 2),
        (f"POSTGRES://me:{CANARY}@{_NOWHERE}", 2),
        (f"postgresql:/me:{CANARY}@{_NOWHERE}", 2),
        (f"mysql://me:{CANARY}@{_NOWHERE}", 2),
        (f"me:{CANARY}@{_NOWHERE}", 2),
        (f"host=127.0.0.1 password={CANARY}", 2),
    ],
)
def test_no_secret_of_an_address_is_shown(store: str, code: int) -> None:
    """Whatever is wrong with a DSN: a plain message, without its password."""
    refused = invoke("tail", CAMB_STORE=store)

    assert (code, "") == (refused.exit_code, refused.stdout)
    assert refused.stderr


def test_a_database_that_is_not_there(dsn: str) -> None:
    """To try again would not help, and which server it is may be known."""
    place, _, _ = dsn.rpartition("/")
    refused = invoke("tail", "--store", f"{place}/no_such_database")

    assert 2 == refused.exit_code
    assert '"no_such_database" does not exist' in refused.stderr


def test_the_help_shows_no_setting() -> None:
    """It says where a password belongs, and not which one is there."""
    dsn = f"postgresql://me:{CANARY}@{_NOWHERE}"
    for command in ("watch", "add", "work", "tail"):
        shown = invoke(command, "--help", CAMB_STORE=dsn)

        assert 0 == shown.exit_code
        assert "CAMB_STORE" in shown.stdout


@pytest.mark.parametrize(
    "line",
    [
        "tail",
        "work --store x.db --capacity 0",
        "work --store x.db --max-rate 0",
        "add --store x.db",
        "add --store x.db not/an/id",
        "add --store x.db a --context {",
        "add --store x.db a --context NaN",
        "add --store x.db a --context 1e999",
        "add --store x.db a --deadline soon",
    ],
)
def test_usage_that_is_refused(line: str, tmp_path: Path) -> None:
    """What makes no sense is refused with 2, before a store is made."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(tmp_path)
        refused = invoke(*line.split())

    assert (2, "") == (refused.exit_code, refused.stdout)
    assert [] == list(tmp_path.iterdir())
