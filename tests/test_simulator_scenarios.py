"""Scenarios of the simulator: chance that can be repeated, and adds up."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from random import Random
from statistics import median
from typing import Any

import aiohttp
import attrs
import pytest

from camb_async.models import TaskStatus
from camb_async.simulator import SCENARIOS, Fault, Scenario, Simulator


BODY = {"text": "Hello there", "voice_description": "A calm, friendly voice"}


async def _ends(simulator: Simulator, count: int, *, at_once: bool) -> dict[str, Any]:
    """Create tasks and return each id's final status body."""
    headers = {"x-api-key": simulator.api_key}
    url = f"{simulator.base_url}/text-to-voice"

    async with aiohttp.ClientSession(headers=headers) as http:

        async def create() -> str:
            async with http.post(url, json=BODY) as answer:
                return str((await answer.json())["task_id"])

        async def end(task_id: str) -> Any:
            while True:
                async with http.get(f"{url}/{task_id}") as answer:
                    body = await answer.json()
                if body["status"] != "PENDING":
                    return body
                await asyncio.sleep(0.01)

        if at_once:
            ids = await asyncio.gather(*[create() for _ in range(count)])
        else:
            ids = [await create() for _ in range(count)]
        bodies = await asyncio.gather(*[end(task_id) for task_id in ids])
    return dict(zip(ids, bodies, strict=True))


def _run(seed: int, *, at_once: bool) -> dict[str, Any]:
    async def main() -> dict[str, Any]:
        async with Simulator("lifelike", seed=seed, speed=500) as simulator:
            return await _ends(simulator, 40, at_once=at_once)

    return asyncio.run(main())


def test_the_seed_decides_whatever_the_order_of_arrival() -> None:
    """The n-th task created has the same id and fate in every run of a seed."""
    first = _run(1, at_once=False)

    assert first == _run(1, at_once=True)
    assert first.keys().isdisjoint(_run(2, at_once=True))


def test_failures_say_why() -> None:
    """ERROR and PAYMENT_REQUIRED tell a reason, only SUCCESS tells a run."""
    bodies = _run(3, at_once=True).values()

    assert {"SUCCESS", "ERROR"} <= {body["status"] for body in bodies}

    for body in bodies:
        assert (body["status"] == "SUCCESS") == (body["run_id"] is not None)
        if body["status"] == "ERROR":
            assert body["exception_reason"]
            assert body["message"]


def test_the_demo_shows_every_outcome_within_twelve_seconds() -> None:
    """40 tasks of the default seed: all outcomes, and most succeed."""

    async def main() -> dict[str, Any]:
        async with Simulator(_without_faults("demo"), speed=50) as simulator:
            return await _ends(simulator, 40, at_once=True)

    ends = asyncio.run(main())
    found = Counter(body["status"] for body in ends.values())

    assert {s.value for s in TaskStatus if s.is_final} == found.keys()
    assert found["SUCCESS"] > 25
    assert SCENARIOS["demo"].longest <= 11


def _without_faults(name: str) -> Scenario:
    return attrs.evolve(SCENARIOS[name], fault_rate=0.0)


@pytest.mark.parametrize("name", SCENARIOS)
def test_durations_and_outcomes_follow_the_scenario(name: str) -> None:
    """Median and bounds, and the share of each outcome, are those declared."""
    scenario = SCENARIOS[name]
    random = Random(1)
    fates = [scenario.draw_fate(random) for _ in range(4000)]
    durations = [fate.duration for fate in fates]
    found = Counter(fate.status for fate in fates)
    weights = sum(scenario.outcomes.values())

    assert math.isclose(scenario.median, median(durations), rel_tol=0.1)
    assert scenario.shortest <= min(durations)
    assert max(durations) <= scenario.longest

    for status, weight in scenario.outcomes.items():
        assert math.isclose(weight / weights, found[status] / 4000, abs_tol=0.02)


def test_the_share_of_faults_is_the_rate() -> None:
    """A quarter of a stormy scenario's status answers go wrong."""
    scenario = SCENARIOS["stormy"]
    random = Random(1)
    faults = [scenario.draw_fault(random) for _ in range(4000)]
    found = Counter(fault.name for fault in faults if fault is not None)

    assert math.isclose(0.25, found.total() / 4000, abs_tol=0.02)
    assert {fault.name for fault in scenario.faults} == found.keys()


def test_faults_of_a_scenario_reach_the_client() -> None:
    """Status answers of timed tasks go wrong; scripts and creates never do."""

    async def main() -> None:
        stormy = Scenario(fault_rate=1.0, faults=("503", Fault("429", retry_after="9")))
        async with Simulator(stormy) as simulator:
            headers = {"x-api-key": simulator.api_key}
            url = f"{simulator.base_url}/text-to-voice"
            async with aiohttp.ClientSession(headers=headers) as http:
                async with http.post(url, json=BODY) as answer:
                    assert 200 == answer.status

                    task_id = (await answer.json())["task_id"]
                seen: set[int] = set()
                for _ in range(30):
                    async with http.get(f"{url}/{task_id}") as answer:
                        seen.add(answer.status)

                assert {503, 429} == seen

                scripted = simulator.add_task(answers=["SUCCESS"])
                async with http.get(f"{url}/{scripted}") as answer:
                    assert 200 == answer.status

    asyncio.run(main())


def test_an_unknown_scenario_names_the_known_ones() -> None:
    """The message is the list to choose from."""
    known = "known: steady, lifelike, stormy, demo"
    with pytest.raises(ValueError, match=known):
        Simulator("sunny")


@pytest.mark.parametrize(
    "settings",
    [
        {"median": 0},
        {"sigma": -1},
        {"fault_rate": 1.5},
        {"outcomes": {TaskStatus.PENDING: 1}},
        {"outcomes": {TaskStatus.SUCCESS: 0}},
        {"outcomes": {TaskStatus.SUCCESS: -1, TaskStatus.ERROR: 2}},
        {"outcomes": {}},
        {"faults": ("rest",)},
    ],
)
def test_senseless_scenarios_are_refused(settings: dict[str, Any]) -> None:
    """A number out of range or a name that is none is a ValueError."""
    with pytest.raises(ValueError):  # noqa: PT011 - each says it in its own words
        Scenario(**settings)


def test_scenarios_are_values() -> None:
    """Equal by what they say, and hashable."""
    assert Scenario(median=3) == Scenario(median=3)
    assert 1 == len({Scenario(median=3), Scenario(median=3)})
