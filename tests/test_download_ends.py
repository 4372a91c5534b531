"""Downloads that end before their end: cancelled, timed out, killed."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path

import pytest

from camb_async import (
    CambSession,
)
from camb_async.simulator import ThreadedSimulator

from .downloading import (
    PREVIEWS,
    RUN,
    finished,
    names,
)
from .helpers import QUICK, open_files, run, settled


@pytest.mark.parametrize("fault", [None, "503", "truncate_chunked"])
def test_cancelling_at_any_step_leaves_nothing_behind(
    tmp_path: Path, fault: str | None
) -> None:
    """No part of a file, no descriptor, no task; what is there is whole."""
    size = 32_044

    async def main() -> int:
        baseline = open_files()
        async with CambSession(
            simulator.api_key, base_url=simulator.base_url, retry=QUICK
        ) as camb:
            result = await camb.get_text_to_voice_result(RUN)
            baseline = open_files()
            steps = 0
            for number in itertools.count():
                directory = tmp_path / str(number)
                if fault is not None:
                    simulator.fail(fault, times=2, path=PREVIEWS)
                task = asyncio.create_task(camb.download_previews(result, directory))
                for _ in range(steps):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.wait([task])
                assert {asyncio.current_task()} == asyncio.all_tasks()
                assert not list(directory.glob(".camb*"))
                for path in directory.glob("*"):
                    assert size == path.stat().st_size
                await settled(baseline)
                simulator.heal()
                if not task.cancelled():
                    assert 2 == len(task.result())
                    return number
                steps += 1 + steps // 15
        raise AssertionError

    with ThreadedSimulator() as simulator:
        simulator.add_task(run_id=RUN, after=0)
        assert run(main()) > 10


def test_a_timeout_around_a_download_works(tmp_path: Path) -> None:
    """The usual ``asyncio.timeout``, in the middle of a body that trickles."""

    async def main() -> None:
        async with finished() as (simulator, camb):
            simulator.fail("drip", times=None, path=PREVIEWS)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await camb.download_previews(RUN, tmp_path)

    run(main())

    assert [] == names(tmp_path)
