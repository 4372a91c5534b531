"""The simulator keeps to the document, as an independent tool sees it."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# schemathesis leaves type parameters of its own open.

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import schemathesis

from camb_async.kinds import PATHS, TaskKind
from camb_async.models import TaskStatus
from camb_async.simulator import ThreadedSimulator

from .document import DOCUMENT, STATUS_PATHS


SCHEMA = schemathesis.openapi.from_path(DOCUMENT)

# What a state may say besides its status: a reason, and a message.
TOLD: list[tuple[str | None, str | dict[str, Any] | None]] = [
    ("PROCESSING_ERROR", {"why": "so"}),
    ("NONE", "Too short"),
    (None, None),
]


@attrs.frozen
class Served:
    """A running simulator, and the headers that it wants."""

    simulator: ThreadedSimulator
    headers: dict[str, str]

    def check(self, method: str, path: str, **parameters: str | int) -> None:
        """Make a request, and hold its answer against the document."""
        case = SCHEMA[path][method].Case(path_parameters=parameters)
        response = case.call_and_validate(
            base_url=self.simulator.base_url, headers=self.headers
        )

        assert 200 == response.status_code


@pytest.fixture
def served() -> Iterator[Served]:
    """Serve, and give the key away."""
    with ThreadedSimulator() as simulator:
        yield Served(simulator, {"x-api-key": simulator.api_key})


def test_whatever_is_asked_the_answer_is_a_documented_one(
    served: Served, tmp_path: Path
) -> None:
    """Good and bad requests, alone and in sequence: schemathesis has all its say."""
    ended = subprocess.run(  # noqa: S603 - our own arguments
        [
            str(Path(sys.executable).parent / "schemathesis"),
            *("run", str(DOCUMENT)),
            *("--url", served.simulator.base_url),
            *("--header", f"x-api-key: {served.simulator.api_key}"),
            *("--checks", "all"),
            *("--max-examples", "15"),
            *("--seed", "1"),
            # Ids of tasks that are there are the business of the tests below.
            *("--warnings", "off"),
        ],
        cwd=tmp_path,
        check=False,
        capture_output=True,
        text=True,
    )

    assert 0 == ended.returncode, ended.stdout + ended.stderr


@pytest.mark.parametrize("status", [s for s in TaskStatus if s != TaskStatus.UNKNOWN])
@pytest.mark.parametrize("path", STATUS_PATHS)
def test_each_status_of_each_kind_is_a_documented_one(
    served: Served, path: str, status: TaskStatus
) -> None:
    """With all that a state can say, and with as little as it may."""
    (kind, *_) = [kind for kind, paths in PATHS.items() if paths.status == path]
    for reason, message in TOLD:
        task_id = served.simulator.add_task(
            kind=kind, status=status, after=0, exception_reason=reason, message=message
        )
        served.check("get", path, task_id=task_id)


def test_a_result_is_a_documented_one(served: Served) -> None:
    """The links are links."""
    served.simulator.add_task(kind=TaskKind.TEXT_TO_VOICE, after=0, run_id=7)
    served.check("get", "/text-to-voice-result/{run_id}", run_id=7)
