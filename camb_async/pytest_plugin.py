"""Fixtures for the tests of programs that use camb_async. No network, no key.

    async def test_my_program(camb_session, camb_simulator):
        task_id = camb_simulator.add_task(answers=["PENDING", "503", "SUCCESS"])
        async with camb_session as camb:
            state = await my_program(camb, task_id)

The fixtures are plain ones, so they work in tests of every sort: without a plugin
for async tests (through ``asyncio.run``), with pytest-asyncio, and with anyio's.
The simulator runs in a thread of its own, which no test's event loop can hold up.

Nothing is loaded before a test asks for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pytest


if TYPE_CHECKING:
    from camb_async import CambSession
    from camb_async.simulator import ThreadedSimulator


#: How fast time passes in the simulator: what takes two seconds takes 20 ms.
SPEED = 100.0

_MARKER = (
    "camb_simulator(scenario=None, *, speed=100.0, seed=0, api_key='simulator-key', "
    "faults=()): settings of the fixture camb_simulator; each of the faults, a name "
    "or a Fault, happens once, in that order, to the next requests."
)


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", _MARKER)


@pytest.fixture
def camb_simulator(request: pytest.FixtureRequest) -> Iterator[ThreadedSimulator]:
    """Run a stand-in for the service, and return the means to steer it.

    ``@pytest.mark.camb_simulator(...)`` on a test, a class or a module sets what it
    is like; of several, the closest decides on each setting.
    """
    from camb_async.simulator import ThreadedSimulator  # noqa: PLC0415 - when asked

    options: dict[str, Any] = {"speed": SPEED} | _options(request)
    faults = options.pop("faults", ())
    with ThreadedSimulator(**options) as simulator:
        for fault in faults:
            simulator.fail(fault)
        yield simulator


@pytest.fixture
def camb_session(camb_simulator: ThreadedSimulator) -> CambSession:
    """Return a session with the simulator, to be opened by the test.

    It is an ordinary CambSession that tries again without much ado.
    """
    from camb_async import CambSession, Limits, RetryPolicy  # noqa: PLC0415 - the same

    return CambSession(
        camb_simulator.api_key,
        base_url=camb_simulator.base_url,
        limits=Limits(max_rate=None),
        retry=RetryPolicy(backoff_initial=0.01, backoff_max=0.1, not_found_grace=0.5),
        request_timeout=10.0,
    )


@pytest.fixture
def camb_environment(
    camb_simulator: ThreadedSimulator, monkeypatch: pytest.MonkeyPatch
) -> Mapping[str, str]:
    """Set the variables that lead every CambSession() to the simulator.

    They reach the programs that a test starts, too.
    """
    variables = {
        "CAMB_API_KEY": camb_simulator.api_key,
        "CAMB_BASE_URL": camb_simulator.base_url,
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return variables


def _options(request: pytest.FixtureRequest) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for marker in reversed(list(request.node.iter_markers("camb_simulator"))):
        if marker.args:
            options["scenario"], *more = marker.args
            if more:
                message = (
                    "camb_simulator takes one argument, the scenario, and keywords"
                )
                raise pytest.UsageError(message)
        options |= marker.kwargs
    return options
