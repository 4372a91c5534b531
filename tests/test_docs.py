"""Every program in the README and the docs runs, and the tables are the code's."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import logging
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import asyncpg
import pytest
import yaml
from aiohttp.test_utils import TestClient, TestServer
from typer.testing import CliRunner

import camb_async
from camb_async import PostgresStore, errors, simulator
from camb_async.cli.app import app
from camb_async.simulator import ThreadedSimulator

from .doc_blocks import (
    BLOCKS,
    IDS_FILE,
    PAGES,
    ROOT,
    VOICES,
    Block,
    check_output,
    run_program,
    run_tests,
    served,
    variables_for,
)
from .test_docs_commands import CONSOLES, SCRIPTS


PROGRAMS = [block for block in BLOCKS if block.language == "python"]
#: What is no program: a passage of an example, or a block of the list below.
PASSAGES = [block for block in BLOCKS if block.language == "py"]

QUERIES = [block for block in BLOCKS if block.language == "sql"]
DEPLOYMENTS = [block for block in BLOCKS if block.language == "yaml"]

#: Blocks that are not run: the page, a line that only this block has, and why.
NOT_RUN: dict[tuple[str, str], str] = {
    ("docs/how-to/bots.md", "import discord"): "discord.py is no dependency",
}


@pytest.fixture
def service(
    block: Block,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> Iterator[ThreadedSimulator]:
    """Be a reader in a directory of their own, and put back what blocks change."""
    if "PostgresStore" in block.code:
        monkeypatch.setenv("CAMB_STORE", request.getfixturevalue("dsn"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["program.py", *VOICES])
    (tmp_path / "ids.txt").write_text(IDS_FILE)
    logger = logging.getLogger("camb_async")
    level = logger.level
    with served(block) as service:
        for name, value in variables_for(service).items():
            monkeypatch.setenv(name, value)
        yield service
    logger.setLevel(level)


@pytest.mark.parametrize("block", PROGRAMS, ids=str)
def test_programs_run_and_print_what_is_shown(
    block: Block, tmp_path: Path, service: ThreadedSimulator
) -> None:
    """Every Python block does what the page says, as it stands."""
    if "\ndef test_" in block.code:
        run_tests(block, tmp_path)
    elif 'if __name__ == "__main__":' in block.code:
        _printed, names = run_program(block, __name__="reader")
        asyncio.run(_use_web_app(names["make_app"]()))
    else:
        printed, _names = run_program(block)
        assert service.requests or "Simulator(" in block.code
        check_output(block.output or printed, printed)


async def _use_web_app(app: Any) -> None:
    order = {"text": "Hello.", "description": "A calm voice, " * 20}
    async with TestClient(TestServer(app)) as client:
        answer = await client.post("/voices", json=order)
        task_id = (await answer.json())["task_id"]
        async with client.get("/events") as events:
            async for line in events.content:
                if not line.startswith(b"data: "):
                    continue
                news = json.loads(line.removeprefix(b"data: "))[task_id]
                if news["status"] == "SUCCESS":
                    return


def test_every_block_is_of_a_kind_that_is_checked() -> None:
    """No block escapes: its language is known, and a text follows a program."""
    checked = [*PROGRAMS, *CONSOLES, *SCRIPTS, *PASSAGES, *QUERIES, *DEPLOYMENTS]

    assert [str(block) for block in BLOCKS if block not in checked] == []


@pytest.mark.parametrize("block", PASSAGES, ids=str)
def test_passages_are_those_of_an_example(block: Block) -> None:
    """What is not run is quoted from code that is tested, or has a reason."""
    listed = any(key in _lines_of(block) for key in NOT_RUN)
    examples = [path.read_text() for path in (ROOT / "examples").rglob("*.py")]
    compile(block.code, str(block), "exec")

    assert listed or any(block.code in text for text in examples)


@pytest.mark.parametrize("block", QUERIES, ids=str)
def test_queries_run(block: Block, dsn: str) -> None:
    """What is asked of a database can be asked of the store's tables."""

    async def main() -> None:
        async with PostgresStore(dsn):
            connection = await asyncpg.connect(dsn)
            await connection.fetch(block.code)
            await connection.close()

    asyncio.run(main())


@pytest.mark.parametrize("block", DEPLOYMENTS, ids=str)
def test_deployments_run_commands_that_exist(block: Block) -> None:
    """A file for others to run is YAML, and the command line knows its commands."""
    found = _commands_in(yaml.safe_load(block.code))
    asked = [CliRunner().invoke(app, [*command, "--help"]) for command in found]

    assert {0} == {each.exit_code for each in asked}


def _commands_in(part: object) -> list[list[str]]:
    if isinstance(part, list):
        items = cast("list[object]", part)
        if items and items[0] == "camb-async":
            return [cast("list[str]", items[1:])]
        return [each for item in items for each in _commands_in(item)]
    if isinstance(part, dict):
        values = cast("dict[str, object]", part).values()
        return [each for value in values for each in _commands_in(value)]
    return []


def _lines_of(block: Block) -> list[tuple[str, str]]:
    return [(block.page, line) for line in block.code.splitlines()]


def test_blocks_that_are_not_run_exist() -> None:
    """The list of exceptions has no stale entries, and each has a reason."""
    known = [line for block in PASSAGES for line in set(_lines_of(block))]

    assert [known.count(key) for key in NOT_RUN] == [1] * len(NOT_RUN)
    assert all(NOT_RUN.values())


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_tables_are_those_of_the_code() -> None:
    """Run ``python docs/make_tables.py`` if this fails."""
    script = _load("make_tables")
    pages = {path.name: path.read_text() for path in script.pages()}

    assert [name for name, page in pages.items() if script.renewed(page) != page] == []


def test_every_table_stands_somewhere() -> None:
    """No table is made in vain."""
    text = "".join(page.read_text() for page in PAGES)
    names = set(re.findall(r"<!-- table: ([a-z-]+) -->", text))

    script = _load("make_tables")

    assert names == set(script.TABLES) | script.FROM_A_RUN


def test_diagrams_are_those_of_the_code() -> None:
    """Run ``python docs/make_diagrams.py`` if this fails."""
    script = _load("make_diagrams")
    stale = [
        name
        for name, draw in script.DIAGRAMS.items()
        if (script.IMAGES / name).read_text() != draw()
    ]

    assert stale == []


def test_every_error_is_explained() -> None:
    """The page about errors has a row for each class, and for nothing else."""
    page = (ROOT / "docs" / "how-to" / "errors.md").read_text()
    explained = set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))
    classes = {
        name
        for name, each in vars(errors).items()
        if isinstance(each, type) and issubclass(each, errors.CambError)
    }

    assert explained == classes


def test_every_public_name_is_in_the_reference() -> None:
    """Somebody who looks a name up finds it."""
    pages = (ROOT / "docs" / "reference").glob("*.md")
    text = "".join(page.read_text() for page in pages)
    shown = set(re.findall(r"^::: (camb_async[\w.]*)$", text, re.MULTILINE))
    # The tables of these are there instead.
    shown |= {"camb_async.simulator.FAULTS", "camb_async.simulator.SCENARIOS"}
    public = {f"camb_async.{name}" for name in camb_async.__all__}
    public |= {f"camb_async.simulator.{name}" for name in simulator.__all__}

    assert public - shown == {"camb_async.__version__"}
