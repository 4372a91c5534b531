"""The examples of a single file, each run for real as its reader would run it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from camb_async.simulator import ThreadedSimulator


ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
REHEARSAL = "CAMB_API_KEY is not set: rehearsing with the simulator."

#: What each prints without a key: expressions found in that order.
PRINTED = {
    "await_one.py": [
        REHEARSAL,
        r"Task \S+ was created; waiting\.",
        r"Saved previews/\d+-1\.wav, 32,044 bytes\.",
        r"Saved previews/\d+-2\.wav, 32,044 bytes\.",
    ],
    "watch_many.py": [REHEARSAL, "PENDING", "ready after", "failed"],
    "own_schedule.py": [
        REHEARSAL,
        r"poll 1: PENDING",
        r"took between \d\.\d and \d\.\d s\.",
        r"poll \d: SUCCESS",
    ],
    "borrowed_session.py": [
        REHEARSAL,
        r"200 in \d+ ms: /apis/text-to-voice/\S+",
        "✅ SUCCESS",
        "⏳ PENDING",
        "unknown-task: The API answered 404",
    ],
}
ELSEWHERE = {"__init__.py", "fastapi_endpoint.py", "test_my_code.py"}


def environment(**variables: str) -> dict[str, str]:
    """Return this environment without a key, and with these variables."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in {"CAMB_API_KEY", "CAMB_BASE_URL"}
    }
    path = os.pathsep.join(filter(None, [str(ROOT), kept.get("PYTHONPATH")]))
    return kept | {"PYTHONPATH": path, "PYTHONIOENCODING": "utf-8"} | variables


def run_example(
    name: str, directory: Path, *args: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run an example in a directory of its own."""
    return subprocess.run(  # noqa: S603 - our own programs
        [sys.executable, "-W", "error", str(EXAMPLES / name), *args],
        cwd=directory,
        env=environment(**variables),
        capture_output=True,
        encoding="utf-8",
        timeout=50,
        check=False,
    )


def test_every_small_example_is_run() -> None:
    """Also those that are still to be written, and each says how to run it."""
    found = {path.name for path in EXAMPLES.glob("*.py")}

    assert PRINTED.keys() | ELSEWHERE == found
    for name in found - {"__init__.py"}:
        assert f"examples/{name}" in (EXAMPLES / name).read_text("utf-8")


@pytest.mark.parametrize("name", PRINTED)
def test_an_example_runs_without_a_key(name: str, tmp_path: Path) -> None:
    """In seconds, without a warning, and it says that it rehearses."""
    done = run_example(name, tmp_path)

    assert "" == done.stderr
    assert 0 == done.returncode
    assert re.search(".*".join(PRINTED[name]), done.stdout, re.DOTALL), done.stdout


def test_examples_use_the_key_that_is_set(tmp_path: Path) -> None:
    """And the tasks they are given."""
    with ThreadedSimulator() as simulator:
        task = simulator.add_task(after=0)
        keys = {
            "CAMB_API_KEY": simulator.api_key,
            "CAMB_BASE_URL": simulator.base_url,
        }
        for name in ("own_schedule.py", "borrowed_session.py"):
            done = run_example(name, tmp_path, task, **keys)
            assert "" == done.stderr
            assert REHEARSAL not in done.stdout
            assert "SUCCESS" in done.stdout

    assert len(simulator.requests) >= 2


def test_an_example_that_fails_says_why(tmp_path: Path) -> None:
    """In one line, and by its exit code."""
    with ThreadedSimulator() as simulator:
        simulator.fail("402", times=None)
        done = run_example(
            "await_one.py",
            tmp_path,
            CAMB_API_KEY=simulator.api_key,
            CAMB_BASE_URL=simulator.base_url,
        )

    assert 1 == done.returncode
    assert "Traceback" not in done.stderr
    assert "402" in done.stderr


def test_the_tests_of_the_readers_code_pass(tmp_path: Path) -> None:
    """With pytest alone, and the fixtures of the plugin."""
    plugins = ("-p", "camb_async.pytest_plugin", "-p", "no:cacheprovider")
    command = [sys.executable, "-m", "pytest", "-W", "error", *plugins]
    done = subprocess.run(  # noqa: S603 - our own programs
        [
            *command,
            "-c",
            os.devnull,
            "--rootdir",
            tmp_path,
            EXAMPLES / "test_my_code.py",
        ],
        cwd=tmp_path,
        env=environment(PYTEST_DISABLE_PLUGIN_AUTOLOAD="1", PYTEST_ADDOPTS=""),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )

    assert 0 == done.returncode, done.stdout
    assert "6 passed" in done.stdout


@contextlib.contextmanager
def endpoint(directory: Path) -> Generator[str]:
    """Run the endpoint on a free port, and end it as Ctrl-C does."""
    process = subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, str(EXAMPLES / "fastapi_endpoint.py")],
        cwd=directory,
        env=environment(PORT="0"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    with process:
        assert process.stderr is not None
        try:
            for line in process.stderr:
                running = re.search(r"running on (http://127\.0\.0\.1:\d+)", line)
                if running:
                    yield running[1]
                    break
        finally:
            process.send_signal(signal.SIGINT)
            rest = process.stderr.read()

    assert 0 == process.returncode, rest
    assert "Traceback" not in rest


def ask(url: str) -> tuple[int, Any]:
    """Return the status and the JSON that an URL answers with."""
    try:
        with urlopen(url, timeout=30) as response:  # noqa: S310 - loopback
            return response.status, json.load(response)
    except HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_the_endpoint_waits(tmp_path: Path) -> None:
    """For as long as it is asked to, or until the voice is ready."""
    with endpoint(tmp_path) as url:
        first = ask(f"{url}/voices/rehearsal?seconds=0.5")
        bad = ask(f"{url}/voices/not%20an%20id")
        ready = ask(f"{url}/voices/rehearsal")

    assert (202, {"status": "PENDING"}) == first
    assert 422 == bad[0]
    assert "Not a task id" in bad[1]["detail"]
    assert (200, "SUCCESS") == (ready[0], ready[1]["status"])
    assert ready[1]["run_id"] is not None
