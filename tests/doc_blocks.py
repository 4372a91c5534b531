"""The code blocks of the README and the docs, found and run."""

from __future__ import annotations

import contextlib
import io
import os
import re
import signal
import subprocess
import sys
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import Any

import attrs

from camb_async import TaskKind
from camb_async.simulator import Fault, ThreadedSimulator


ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

#: In the docs a task takes seconds; here, a hundredth of that. The tutorial shows
#: tasks under way, too.
SPEED, TUTORIAL_SPEED = 100.0, 20.0
#: The ids that the docs use for tasks which exist already.
VOICES = ("voice-1", "voice-2", "voice-3")
#: What a reader has in ``ids.txt``.
IDS_FILE = "\n".join(VOICES)

_FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>[a-z]*)[^\n]*\n(?P<code>.*?)^(?P=indent)```$",
    re.DOTALL | re.MULTILINE,
)
_FROM_CODE = re.compile(r"<!-- table: .*?<!-- end -->", re.DOTALL)


@attrs.frozen
class Block:
    """One block. ``output`` is the text block that follows a program, if any."""

    page: str
    line: int
    language: str
    code: str
    output: str | None = None

    def __str__(self) -> str:
        """Return where it stands, as editors read it."""
        return f"{self.page}:{self.line}"


def blocks_of(path: Path) -> list[Block]:
    """Return the blocks of a page, in order, each with its output."""
    # What comes from the code is checked elsewhere; lines must keep their numbers.
    text = _FROM_CODE.sub(lambda m: "\n" * m[0].count("\n"), path.read_text())
    page = path.relative_to(ROOT).as_posix()
    found: list[Block] = []
    for match in _FENCE.finditer(text):
        block = Block(
            page,
            text.count("\n", 0, match.start("code")) + 1,
            match["language"],
            match["code"],
        )
        if block.language == "text" and found and found[-1].language == "python":
            found[-1] = attrs.evolve(found[-1], output=block.code)
        else:
            found.append(block)
    return found


BLOCKS = [block for page in PAGES for block in blocks_of(page)]


@contextlib.contextmanager
def served(block: Block) -> Generator[ThreadedSimulator]:
    """Run the service that the docs talk to."""
    speed = TUTORIAL_SPEED if block.page == "docs/tutorial.md" else SPEED
    with ThreadedSimulator("lifelike", speed=speed) as service:
        # Their run ids are given, so that created tasks get those of the docs.
        for run_id, task_id in enumerate((*VOICES, "busy-voice"), 1):
            service.add_task(task_id, run_id=run_id)
        service.add_task("slow-voice", after=0.9 * speed, run_id=5)
        service.add_task("dub-1", kind=TaskKind.DUB, run_id=6)
        busy = Fault("429", retry_after="60")
        service.fail(busy, times=None, task_id="busy-voice")
        yield service


def variables_for(service: ThreadedSimulator) -> dict[str, str]:
    """Return the environment variables that lead a program there."""
    return {
        "CAMB_BASE_URL": service.base_url,
        "CAMB_API_KEY": service.api_key,
    }


def run_program(block: Block, **names: Any) -> tuple[str, dict[str, Any]]:
    """Run a Python block here; return what it printed and the names it made."""
    # Blank lines before it make a traceback point at the line of the page.
    code = compile("\n" * (block.line - 1) + block.code, block.page, "exec")
    namespace: dict[str, Any] = {"__name__": "__main__", **names}
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(code, namespace)  # noqa: S102 - that is the point
    return out.getvalue(), namespace


def run_tests(block: Block, directory: Path) -> None:
    """Run a Python block that consists of tests, with the pytest plugin."""
    path = directory / "test_block.py"
    plugins = ("-p", "camb_async.pytest_plugin", "-p", "no:cacheprovider")
    path.write_text(block.code)
    ended = subprocess.run(  # noqa: S603 - our own docs
        [sys.executable, "-m", "pytest", "-q", "-W", "error", *plugins, path],
        cwd=directory,
        env=os.environ
        | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": ""}
        | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


def check_output(expected: str, actual: str) -> None:
    """Compare lines. ``...`` in a line stands for any text.

    A line of ``...`` says that these are some of the lines, in whatever order.
    """
    wanted, lines = expected.splitlines(), actual.splitlines()
    shown = [_pattern(line) for line in wanted if line != "..."]
    if len(shown) < len(wanted):
        missing = [p for p in shown if not any(map(p.fullmatch, lines))]
        assert not missing, actual
    else:
        pairs = zip(shown, lines, strict=False)
        assert len(shown) == len(lines), actual
        assert all(pattern.fullmatch(line) for pattern, line in pairs), actual


def _pattern(line: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"(\\\.){3}(?!\\\.)", ".*", re.escape(line)))


@attrs.define
class Shell:
    """Runs shell lines in a directory, with ``camb-async`` on the path."""

    directory: Path
    variables: dict[str, str]

    def run(self, lines: Iterable[str]) -> str:
        """Return what the lines, run as one script, write to stdout."""
        script = "\n".join(["set -euo pipefail", *lines])
        ended = subprocess.run(  # noqa: S603 - our own docs
            ["bash", "-c", script],  # noqa: S607 - whichever bash there is
            cwd=self.directory,
            env=self._environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, (script, ended.stdout, ended.stderr)

        return ended.stdout

    def serve(self, line: str) -> str:
        """Return the first line of a command that runs until Ctrl-C, and stop it."""
        process = subprocess.Popen(  # noqa: S603 - the same
            ["bash", "-c", f"exec {line}"],  # noqa: S607 - the same
            cwd=self.directory,
            env=self._environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        with process:
            assert process.stdout is not None
            first = process.stdout.readline()
            process.send_signal(signal.SIGINT)
        assert process.returncode == 130

        return first

    def _environment(self) -> dict[str, str]:
        path = f"{self._commands()}{os.pathsep}{os.environ['PATH']}"
        return os.environ | self.variables | {"PATH": path, "PYTHONPATH": str(ROOT)}

    def _commands(self) -> Path:
        directory = self.directory / ".bin"
        command = directory / "camb-async"
        if not command.exists():
            directory.mkdir()
            command.write_text(f'#!/bin/sh\nexec {sys.executable} -m camb_async "$@"\n')
            command.chmod(0o755)
        return directory


def commands_of(block: Block) -> Iterator[tuple[str, str]]:
    """Return each command of a console block, and the output shown below it."""
    for part in re.split(r"^\$ ", block.code, flags=re.MULTILINE)[1:]:
        command, _, output = part.replace("\\\n", " ").partition("\n")
        yield command, output
