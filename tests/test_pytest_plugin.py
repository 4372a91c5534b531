"""The fixtures for other people's tests, in projects of their own."""

from __future__ import annotations

import os
import subprocess
import venv
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from camb_async import pytest_plugin
from camb_async.simulator import SCENARIOS


pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[1]
PLUGIN = pytest_plugin.__name__

PLAIN = '''
import asyncio
import os
import subprocess
import sys

import pytest

from camb_async import CambSession, TaskFailedError


def test_sync(camb_simulator, camb_session):
    """A test that is not async at all."""

    async def main():
        task = camb_simulator.add_task(answers=["PENDING", "503", "SUCCESS"])
        async with camb_session as camb:
            return await camb.wait(task)

    assert asyncio.run(main()).run_id is not None
    assert [200, "503", 200] == [r.answer for r in camb_simulator.requests]


def test_time_is_quick(camb_simulator, camb_session):
    async def main():
        async with camb_session as camb:
            task = await camb.create_text_to_voice(
                text="Hello.",
                voice_description="a calm and clear voice with a slight accent " * 4,
            )
            return await camb.wait(task, deadline=5)

    assert asyncio.run(main()).is_final


def test_a_failure_can_be_played(camb_simulator, camb_session):
    async def main():
        task = camb_simulator.add_task(status="ERROR", after=0)
        async with camb_session as camb:
            await camb.wait(task)

    with pytest.raises(TaskFailedError):
        asyncio.run(main())


@pytest.mark.camb_simulator(scenario="stormy", seed=7, speed=50, faults=["401", "503"])
def test_marker(camb_simulator, camb_session):
    async def main():
        task = camb_simulator.add_task(after=0)
        async with camb_session as camb:
            with pytest.raises(Exception, match="401"):
                await camb.poll(task)

    asyncio.run(main())
    assert ["401"] == [request.answer for request in camb_simulator.requests]


def test_environment(camb_environment, camb_simulator):
    task = camb_simulator.add_task(after=0)

    async def main():
        async with CambSession() as camb:
            return await camb.get_task_status(task)

    assert asyncio.run(main()).is_final
    program = "import os; print(os.environ['CAMB_BASE_URL'])"
    said = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True
    )
    assert camb_simulator.base_url == said.stdout.strip()
    assert camb_simulator.base_url == camb_environment["CAMB_BASE_URL"]


def test_environment_is_restored():
    assert "CAMB_BASE_URL" not in os.environ
'''


PYTEST_ASYNCIO = """
import pytest
import pytest_asyncio


@pytest_asyncio.fixture
async def camb(camb_session):
    async with camb_session:
        yield camb_session


@pytest.mark.asyncio
async def test_it(camb, camb_simulator):
    task = camb_simulator.add_task(after=0)
    assert (await camb.get_task_status(task)).is_final
"""


def run_pytest(
    pytester: pytest.Pytester, *args: str, apart: bool = False
) -> pytest.RunResult:
    """Run pytest with the plugin, which may or may not be installed here.

    It takes seconds to do so ``apart``, in a process of its own.
    """
    installed = {entry.value for entry in entry_points(group="pytest11")}
    plugin = () if PLUGIN in installed else ("-p", PLUGIN)
    runner = pytester.runpytest_subprocess if apart else pytester.runpytest_inprocess
    # In this process the plugin may be imported already.
    known = "ignore::pytest.PytestAssertRewriteWarning"
    strict = ("-W", "error", "-W", known, "--strict-markers", "-p", "no:randomly")
    return runner(*plugin, *strict, *args)


@pytest.fixture(autouse=True)
def own_project(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> pytest.Pytester:
    """Run each test in a project that is not ours."""
    found = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    monkeypatch.setenv("PYTHONPATH", found)
    monkeypatch.delenv("CAMB_API_KEY", raising=False)
    monkeypatch.delenv("CAMB_BASE_URL", raising=False)
    return pytester


def test_plain_tests_use_the_fixtures(pytester: pytest.Pytester) -> None:
    """Sync tests, async code through asyncio.run, programs of their own."""
    pytester.makepyfile(PLAIN)

    run_pytest(pytester, apart=True).assert_outcomes(passed=6)


def test_tests_of_anyio_use_the_fixtures(pytester: pytest.Pytester) -> None:
    """Its plugin comes with anyio, which comes with camb_async."""
    pytester.makepyfile(
        """
        import pytest

        pytestmark = pytest.mark.anyio

        @pytest.fixture
        def anyio_backend():
            return "asyncio"

        @pytest.fixture
        async def camb(camb_session):
            async with camb_session:
                yield camb_session

        async def test_it(camb, camb_simulator):
            task = camb_simulator.add_task(after=0)
            assert (await camb.get_task_status(task)).is_final

        async def test_it_again(camb_session, camb_simulator):
            async with camb_session as camb:
                task = camb_simulator.add_task(answers=["reset", "SUCCESS"])
                assert (await camb.get_task_status(task)).is_final
        """
    )

    run_pytest(pytester).assert_outcomes(passed=2)


def test_unittest_uses_the_fixtures(pytester: pytest.Pytester) -> None:
    """Through a fixture that is used by itself."""
    pytester.makepyfile(
        """
        import unittest

        import pytest

        from camb_async import CambSession

        @pytest.mark.usefixtures("camb_environment")
        class TestIt(unittest.IsolatedAsyncioTestCase):
            @pytest.fixture(autouse=True)
            def take(self, camb_simulator):
                self.simulator = camb_simulator

            async def test_it(self):
                async with CambSession() as camb:
                    task = self.simulator.add_task(after=0)
                    self.assertTrue((await camb.get_task_status(task)).is_final)
        """
    )

    run_pytest(pytester).assert_outcomes(passed=1)


def test_each_test_has_its_own_simulator(pytester: pytest.Pytester) -> None:
    """Nothing is left of one test in the next, not even after a failure."""
    pytester.makepyfile(
        """
        import threading

        def test_1(camb_simulator):
            camb_simulator.fail("503", times=None)
            camb_simulator.add_task("mine")
            assert False

        def test_2(camb_simulator):
            assert not camb_simulator.requests
            names = [thread.name for thread in threading.enumerate()]
            assert 1 == names.count("camb-simulator")

        def test_3():
            names = [thread.name for thread in threading.enumerate()]
            assert "camb-simulator" not in names
        """
    )

    run_pytest(pytester).assert_outcomes(passed=2, failed=1)


def test_markers_add_up_and_the_closest_decides(pytester: pytest.Pytester) -> None:
    """Module, class and test, each with its own settings."""
    pytester.makepyfile(
        """
        import asyncio

        import pytest

        pytestmark = pytest.mark.camb_simulator(
            "lifelike", api_key="of-module", faults=["404"]
        )

        async def statuses(camb_session, camb_simulator):
            async with camb_session as camb:
                task = camb_simulator.add_task()
                return (await camb.get_task_status(task)).raw_status

        @pytest.mark.camb_simulator(faults=["503", "lower_case"], speed=0.01)
        class TestIt:
            def test_class(self, camb_session, camb_simulator):
                assert "of-module" == camb_simulator.api_key
                assert "pending" == asyncio.run(statuses(camb_session, camb_simulator))
                asked = [request.answer for request in camb_simulator.requests]
                assert ["503", "lower_case"] == asked

            @pytest.mark.camb_simulator("steady", api_key="of-test", faults=[])
            def test_closest(self, camb_session, camb_simulator):
                assert "of-test" == camb_simulator.api_key
                assert "PENDING" == asyncio.run(statuses(camb_session, camb_simulator))
        """
    )

    run_pytest(pytester).assert_outcomes(passed=2)


def test_a_mistaken_marker_is_told(pytester: pytest.Pytester) -> None:
    """As an error of that test, which names what there is."""
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.camb_simulator("no such thing")
        def test_scenario(camb_simulator): ...

        @pytest.mark.camb_simulator(faults=["no such thing"])
        def test_fault(camb_simulator): ...

        @pytest.mark.camb_simulator(speeed=10)
        def test_option(camb_simulator): ...

        @pytest.mark.camb_simulator("steady", 10)
        def test_arguments(camb_simulator): ...
        """
    )

    outcome = run_pytest(pytester)

    outcome.assert_outcomes(errors=4)
    outcome.stdout.fnmatch_lines(
        [
            f"*No scenario is called 'no such thing'; known: {', '.join(SCENARIOS)}*",
            "*No fault is called 'no such thing'; known:*",
            "*unexpected keyword argument 'speeed'*",
            "*takes one argument, the scenario, and keywords*",
        ]
    )


def test_the_fixtures_and_the_marker_are_listed(pytester: pytest.Pytester) -> None:
    """With what they are for."""
    fixtures = run_pytest(pytester, "--fixtures").stdout
    markers = run_pytest(pytester, "--markers").stdout

    fixtures.fnmatch_lines(
        [
            "camb_simulator*",
            "*Run a stand-in for the service*",
            "camb_session*",
            "*Return a session with the simulator*",
            "camb_environment*",
        ]
    )
    markers.fnmatch_lines("@pytest.mark.camb_simulator(scenario=None*")


def test_who_uses_no_fixture_loads_no_simulator(pytester: pytest.Pytester) -> None:
    """Neither at the start nor while tests run."""
    pytester.makepyfile(
        """
        import sys

        def test_it():
            loaded = {"camb_async.simulator", "aiohttp.web", "camb_async.cli"}
            assert not loaded & set(sys.modules)
        """
    )

    run_pytest(pytester, apart=True).assert_outcomes(passed=1)


def test_a_session_that_is_not_used_needs_no_cleaning_up(
    pytester: pytest.Pytester,
) -> None:
    """Nor one that is used without being opened: the error says what to do."""
    pytester.makepyfile(
        """
        import asyncio

        import pytest

        from camb_async import SessionClosedError

        def test_unused(camb_session):
            pass

        def test_unopened(camb_session):
            with pytest.raises(SessionClosedError, match="async with"):
                asyncio.run(camb_session.poll("task"))
        """
    )

    run_pytest(pytester).assert_outcomes(passed=2)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_pytest_and_camb_async_are_all_it_takes(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a fresh environment, found by its entry point; then with pytest-asyncio."""
    monkeypatch.delenv("PYTHONPATH")
    monkeypatch.delenv("PYTHONDEVMODE", raising=False)
    home = pytester.path / "venv"
    venv.create(home, with_pip=True)
    python = str(home / "bin" / "python")
    install = (python, "-m", "pip", "install", "--quiet", "--no-input")
    subprocess.run((*install, str(ROOT), "pytest"), check=True)  # noqa: S603
    pytester.makepyfile(test_plain=PLAIN)

    outcome = pytester.run(python, "-m", "pytest", "-W", "error", "--strict-markers")

    outcome.assert_outcomes(passed=6)
    installed = pytester.run(python, "-m", "pip", "list", "--format=freeze").outlines
    assert not [line for line in installed if "asyncio" in line or "typer" in line]

    subprocess.run((*install, "pytest-asyncio"), check=True)  # noqa: S603
    pytester.makepyfile(test_async=PYTEST_ASYNCIO)
    for mode in ("strict", "auto"):
        settings = [f"asyncio_mode={mode}"]
        settings += ["asyncio_default_fixture_loop_scope=function"]
        options = [f"--override-ini={setting}" for setting in settings]
        outcome = pytester.run(python, "-m", "pytest", "-W", "error", *options)
        outcome.assert_outcomes(passed=7)
