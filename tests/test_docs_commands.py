"""Every command that the README and the docs show runs, or is a set-up line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from .doc_blocks import (
    BLOCKS,
    IDS_FILE,
    VOICES,
    Block,
    Shell,
    check_output,
    commands_of,
    served,
    variables_for,
)


CONSOLES = [block for block in BLOCKS if block.language == "console"]
SCRIPTS = [block for block in BLOCKS if block.language in {"sh", "bash"}]

# Set-up lines: CI runs them, and here they must look like what it runs.
_VENV = r"python3 -m venv \.venv(-dev)?"
_INSTALL = r'(\.venv(-dev)?/bin/)?pip install -q (-e )?"\.(\[[a-z]+\])?"'
_RUN = (
    r"([A-Z_]+=\.\.\. )?\.venv(-dev)?/bin/"
    r"(camb-async demo|python -m (pytest|examples\.\w+))"
)
_SET_UP = re.compile(
    rf"{_VENV}|\. \.venv/bin/activate|{_INSTALL}|{_VENV} && {_INSTALL} && {_RUN}"
)


@pytest.fixture
def shell(block: Block, tmp_path: Path) -> Iterator[Shell]:
    """Give the reader of a block a directory, and the service it talks to."""
    (tmp_path / "ids.txt").write_text(IDS_FILE)
    with served(block) as service:
        yield Shell(tmp_path, variables_for(service))


@pytest.mark.parametrize("block", CONSOLES, ids=str)
def test_commands_run_and_print_what_is_shown(block: Block, shell: Shell) -> None:
    """Every command after a ``$`` succeeds, and prints what stands below it."""
    for command, output in commands_of(block):
        line = re.sub(r"\bdub:ID\b", "dub:dub-1", command)
        line = re.sub(r"\b(TASK_ID|ID)\b", VOICES[0], line)
        if line.startswith("camb-async simulate"):
            _check_server(shell, line)
            continue
        printed = shell.run([line])
        check_output(output or printed, printed)


def _check_server(shell: Shell, line: str) -> None:
    # The port of the docs may be taken on this machine.
    first = shell.serve(re.sub(r"--port \d+", "--port 0", line))

    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/apis\n", first)


@pytest.mark.parametrize("block", SCRIPTS, ids=str)
def test_set_up_has_the_usual_form_and_the_rest_runs(
    block: Block, shell: Shell
) -> None:
    """Every line of a script is a set-up line of a known form, or runs."""
    lines: list[str] = []
    for line in block.code.splitlines():
        if line.startswith("camb-async simulate"):
            _check_server(shell, line)
        elif line == "camb-async demo":
            lines.append(f"{line} --speed 20")
        elif not _SET_UP.fullmatch(line):
            lines.append(line)
    shell.run(lines)
