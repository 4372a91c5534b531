"""The simulator in a thread of its own, for whoever has no event loop."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from urllib.request import Request, urlopen

import pytest

from camb_async import CambSession, TaskStatus
from camb_async.simulator import Simulator, ThreadedSimulator

from .helpers import run


def ask(simulator: ThreadedSimulator, task_id: str) -> str:
    """Return the status of a task, asked for without any event loop."""
    url = f"{simulator.base_url}/text-to-voice/{task_id}"
    request = Request(url, headers={"x-api-key": simulator.api_key})  # noqa: S310
    with urlopen(request) as response:  # noqa: S310 - loopback
        return str(json.load(response)["status"])


def threads() -> list[str]:
    """Return the names of the simulators' threads."""
    names = [thread.name for thread in threading.enumerate()]
    return [name for name in names if name == "camb-simulator"]


def test_a_plain_program_uses_it() -> None:
    """Nothing of it is left after the block, and its log can still be read."""
    with ThreadedSimulator(speed=100) as simulator:
        assert simulator.base_url in repr(simulator)
        task = simulator.add_task(answers=["PENDING", "SUCCESS"])
        assert ["PENDING", "SUCCESS"] == [ask(simulator, task) for _ in range(2)]
        assert ["camb-simulator"] == threads()

    assert [] == threads()
    assert [200, 200] == [request.answer for request in simulator.requests]
    assert "stopped" in repr(simulator)


def test_it_is_steered_like_any_simulator() -> None:
    """Faults, healing, expiry and the key, each done when the call returns."""

    async def main(simulator: ThreadedSimulator) -> None:
        async with CambSession(
            lambda: simulator.api_key, base_url=simulator.base_url
        ) as camb:
            task = simulator.add_task(run_id=5, after=0)
            simulator.fail("404", times=None)
            simulator.heal()
            simulator.api_key = "another-key"
            assert TaskStatus.SUCCESS is (await camb.poll(task)).status
            before = await camb.get_text_to_voice_result(5)
            simulator.expire_links()
            assert before != await camb.get_text_to_voice_result(5)
            assert 1 == simulator.relay(lambda inner: len(inner.requests)) - 2

    with ThreadedSimulator() as simulator:
        run(main(simulator))


def test_several_loops_and_threads_use_one() -> None:
    """All at once."""

    def work(number: int) -> TaskStatus:
        async def main() -> TaskStatus:
            async with CambSession(
                simulator.api_key, base_url=simulator.base_url
            ) as camb:
                task = simulator.add_task(f"task-{number}", after=0)
                return (await camb.poll(task)).status

        return asyncio.run(main())

    with ThreadedSimulator() as simulator, ThreadPoolExecutor(4) as pool:
        assert {TaskStatus.SUCCESS} == set(pool.map(work, range(8)))
        assert 8 == len(simulator.requests)


def test_it_can_be_entered_again_but_not_twice() -> None:
    """With the tasks it had, as a service that was restarted."""
    simulator = ThreadedSimulator()
    with simulator:
        task = simulator.add_task(after=0)
        with pytest.raises(RuntimeError, match="already running"), simulator:
            pass
    with simulator:
        assert "SUCCESS" == ask(simulator, task)


def test_it_is_of_no_use_outside_its_block() -> None:
    """The error says so; leaving twice is no harm."""
    simulator = ThreadedSimulator()
    with pytest.raises(RuntimeError, match="not running"):
        simulator.add_task()
    simulator.__exit__(None, None, None)

    assert [] == list(simulator.requests)


def test_what_goes_wrong_in_its_thread_is_raised_here() -> None:
    """A port that is taken, a scenario or a fault that does not exist."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for _ in range(2):
            simulator = ThreadedSimulator(port=port)
            with pytest.raises(OSError, match="in use"), simulator:
                pass
    with pytest.raises(ValueError, match="No scenario"):
        ThreadedSimulator("no such thing")
    with (
        ThreadedSimulator() as simulator,
        pytest.raises(ValueError, match="No fault"),
    ):
        simulator.fail("no such thing")

    assert [] == threads()


def test_its_methods_are_documented() -> None:
    """With the words of the Simulator's own."""
    assert Simulator.add_task.__doc__ == ThreadedSimulator.add_task.__doc__
    assert "add_task" == ThreadedSimulator.add_task.__name__
