"""The command line against the world: terminals, pipes, signals, the demo."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from collections.abc import AsyncGenerator

import attrs
import pytest

from camb_async import TaskWatcher
from camb_async.cli.board import Board
from camb_async.cli.demo import DemoOptions, play_demo
from camb_async.cli.live import Show
from camb_async.simulator import Simulator

from .cli_process import (
    CANARY,
    ESCAPE,
    Ended,
    environment,
    finish,
    run,
    run_in_terminal,
    started,
)
from .helpers import run_in_virtual_time


_COLOR = re.compile(r"\x1b\[[0-9;]*3[1-6]m")


@attrs.frozen
class Demos:
    """Three demos that ran at the same time: two into pipes, one on a terminal."""

    text: Ended
    as_json: Ended
    terminal: tuple[int, str]


@pytest.fixture(scope="module")
def demos() -> Demos:
    """Run the demo in its three forms, at its usual speed where people watch."""

    async def main() -> Demos:
        return Demos(
            *await asyncio.gather(
                run("demo", CAMB_API_KEY=CANARY),
                run("demo", "--json", "--seed", "3", "--speed", "3"),
                run_in_terminal("demo"),
            )
        )

    return asyncio.run(main())


@pytest.mark.parametrize("seed", range(3))
def test_demo_finishes_in_time(seed: int) -> None:
    """Nobody waits for longer than twenty seconds; in virtual time, on any machine."""

    @contextlib.asynccontextmanager
    async def to_nobody(_watcher: TaskWatcher, _board: Board) -> AsyncGenerator[Show]:
        yield lambda _transition: None

    async def main() -> float:
        options = DemoOptions(seed=seed, speed=1.0, as_json=False)
        board, _stats = await play_demo(options, to_nobody)
        assert 40 == len(board.ended)
        return asyncio.get_running_loop().time()

    assert run_in_virtual_time(main()) < 20


def test_demo_on_a_pipe(demos: Demos) -> None:
    """Forty tasks end, some of them badly, and that is how it should be."""
    finals = [
        line
        for line in demos.text.lines()
        if re.search(r"-> (SUCCESS|ERROR|TIMEOUT|PAYMENT_REQUIRED) ", line)
    ]

    assert 0 == demos.text.code
    assert 40 == len(finals)
    assert "40 of 40 tasks finished" in demos.text.err
    for words in ("✅ SUCCESS", "❌ ERROR", "review_inputs", "⏰ TIMEOUT", "💳 PAY"):
        assert words in demos.text.err
    assert re.search(r"[1-9]\d* faults ridden out", demos.text.err)
    assert "All of this was simulated, failures too" in demos.text.err
    assert "camb-async watch TASK_ID" in demos.text.err
    assert "\x1b" not in demos.text.out + demos.text.err


def test_demo_as_json(demos: Demos) -> None:
    """With --json there are forty final objects of forty tasks."""
    finals = [each for each in demos.as_json.objects() if each["is_final"]]

    assert 0 == demos.as_json.code
    assert 40 == len({each["task_id"] for each in finals}) == len(finals)
    assert {"SUCCESS", "ERROR"} < {each["status"] for each in finals}


def test_demo_on_a_terminal(demos: Demos) -> None:
    """On a terminal there is a table that fits it, with what happens next."""
    code, written = demos.terminal
    shown = ESCAPE.sub("", written)
    widths = {len(line.rstrip()) for line in shown.splitlines()}

    assert 0 == code
    heads = ("task", "state", "age", "polls", "likely left", "next")
    for words in (*heads, "poll in ", " more"):
        assert words in shown
    assert "40 of 40 finished" in shown
    assert "faults ridden out" in shown
    assert max(widths) <= 100
    assert "\x1b[?25h" in written  # the cursor is back


def test_watch_on_a_terminal() -> None:
    """The table goes when all is over; the line of each end stays."""

    async def shown_with(**extra: str) -> tuple[int, str]:
        async with Simulator() as simulator:
            simulator.add_task("good", answers=["PENDING"] * 12 + ["SUCCESS"])
            simulator.add_task("bad", answers=["PENDING", "ERROR"])
            ids = ("watch", "good", "bad", "--interval", "0.2")
            return await run_in_terminal(*ids, simulator=simulator, **extra)

    async def main() -> None:
        colored, plain, dumb = await asyncio.gather(
            shown_with(), shown_with(NO_COLOR="1"), shown_with(TERM="dumb")
        )
        shown = ESCAPE.sub("", colored[1])

        assert (1, 1, 1) == (colored[0], plain[0], dumb[0])
        assert re.search(r"good  PENDING -> SUCCESS  +run_id=[0-9]", shown)
        assert "1 of 2 finished" in shown
        assert "2 of 2 tasks finished" in shown
        assert _COLOR.search(colored[1])
        assert not _COLOR.search(plain[1])
        assert "\x1b" not in dumb[1]
        assert "NEW -> PENDING" in dumb[1]

    asyncio.run(main())


def test_a_pipe_gets_no_colors() -> None:
    """Not even a setting that forces colours puts a table into a pipe."""

    async def main() -> None:
        async with Simulator() as simulator:
            task = simulator.add_task(after=0.0)
            forced, without = await asyncio.gather(
                run("watch", task, simulator=simulator, FORCE_COLOR="1"),
                run(
                    *("watch", task, "--no-color"),
                    simulator=simulator,
                    FORCE_COLOR="1",
                ),
            )

        assert 1 == len(forced.lines()) == len(without.lines())
        assert "\x1b" not in forced.out
        assert not _COLOR.search(without.err)

    asyncio.run(main())


@pytest.mark.parametrize("command", ["demo", "simulate"])
def test_other_commands_end_quietly_on_a_signal(command: str) -> None:
    """Ctrl-C is 130 everywhere, without a traceback."""

    async def main() -> Ended:
        async with started(command, env=environment()) as process:
            assert process.stdout is not None
            await process.stdout.readline()
            process.send_signal(signal.SIGINT)
            return await finish(process)

    assert 130 == asyncio.run(main()).code


def test_ctrl_c_while_ids_are_read() -> None:
    """Ctrl-C before the last id is 130, too."""

    async def main() -> Ended:
        reader, writer = os.pipe()
        args = ("watch", "-")
        async with started(*args, env=environment(), stdin=reader) as process:
            os.close(reader)
            # More than a pipe holds: when all is written, the process is reading.
            comments = b"# not yet\n" * 50_000
            await asyncio.to_thread(_write_all, writer, comments)
            process.send_signal(signal.SIGINT)
            ended = await finish(process)
        os.close(writer)
        return ended

    ended = asyncio.run(main())

    assert (130, "", "") == (ended.code, ended.out, ended.err)


def _write_all(descriptor: int, data: bytes) -> None:
    with os.fdopen(os.dup(descriptor), "wb") as stream:
        stream.write(data)


def test_a_reader_that_leaves_ends_it_quietly() -> None:
    """``| head -1`` is no error message: 141, as for any program in a pipe."""

    async def main() -> Ended:
        async with Simulator() as simulator:
            ids = [simulator.add_task(status="PENDING") for _ in range(10)]
            reader, writer = os.pipe()
            env = environment(simulator)
            args = ("watch", *ids, "--interval", "0.1")
            async with started(*args, env=env, stdout=writer) as process:
                os.close(writer)
                first = await asyncio.to_thread(os.read, reader, 10)
                os.close(reader)
                for task in ids:
                    simulator.add_task(task, after=0.0)
                ended = await finish(process)
        return Ended(ended.code, first.decode(), ended.err)

    ended = asyncio.run(main())

    assert (141, "") == (ended.code, ended.err)
    assert ended.out.startswith("20")
