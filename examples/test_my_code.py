"""How to test a program that uses camb_async: without a network, without a key.

    pip install camb-async pytest
    pytest examples/test_my_code.py

The fixtures come with camb_async. They need no plugin for async tests, and work
with pytest-asyncio and anyio as well.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from camb_async import CambError, CambSession, DeadlineExceededError
from camb_async.simulator import ThreadedSimulator


async def fetch_voice(camb: CambSession, task_id: str, directory: Path) -> str:
    """Return what to tell the user: this is the program being tested."""
    try:
        state = await camb.wait(task_id, deadline=2.0)
        assert state.run_id is not None
        files = await camb.download_previews(state.run_id, directory)
    except DeadlineExceededError:
        return "It takes longer than usual; we will write to you."
    except CambError as error:
        return f"Sorry, there is no voice: {error}"
    return f"Here are {len(files)} voices."


def answer(camb: CambSession, task_id: str, directory: Path) -> str:
    """Run the program on a session of its own."""

    async def main() -> str:
        async with camb:
            return await fetch_voice(camb, task_id, directory)

    return asyncio.run(main())


def test_a_voice_is_fetched(
    camb_simulator: ThreadedSimulator, camb_session: CambSession, tmp_path: Path
) -> None:
    """A service that fails twice in between is nothing the user hears of."""
    task = camb_simulator.add_task(answers=["PENDING", "503", "reset", "SUCCESS"])

    assert answer(camb_session, task, tmp_path) == "Here are 2 voices."
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("status", ["ERROR", "TIMEOUT", "PAYMENT_REQUIRED"])
def test_a_failure_is_explained(
    camb_simulator: ThreadedSimulator,
    camb_session: CambSession,
    tmp_path: Path,
    status: str,
) -> None:
    """Whatever way it failed."""
    task = camb_simulator.add_task(status=status, after=0)

    assert answer(camb_session, task, tmp_path).startswith("Sorry")


def test_patience_has_an_end(
    camb_simulator: ThreadedSimulator, camb_session: CambSession, tmp_path: Path
) -> None:
    """The task goes on, and the user is told."""
    task = camb_simulator.add_task(status="PENDING")

    assert "longer than usual" in answer(camb_session, task, tmp_path)


@pytest.mark.camb_simulator("stormy", seed=3, faults=["503"])
def test_a_storm_is_weathered(
    camb_simulator: ThreadedSimulator, camb_session: CambSession, tmp_path: Path
) -> None:
    """Every fourth answer is a fault; the marker says so, and which comes first."""
    task = camb_simulator.add_task(after=0)

    assert answer(camb_session, task, tmp_path).startswith("Here")
