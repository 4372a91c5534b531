"""Real inputs, altered: each promise of tests/fuzz/targets.py holds for them, too."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from .fuzz.targets import PIECES, TARGETS, Target


# Where there are wheels of atheris; pyproject.toml says the same.
HAS_WHEELS = (
    sys.version_info < (3, 14)
    and sys.platform == "linux"
    and platform.machine() == "x86_64"
)


@st.composite
def altered(draw: st.DrawFn, target: Target) -> bytes:
    """Return a real input in which a few places are something else."""
    data = draw(st.sampled_from(target.seeds))
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.integers(start, min(start + 20, len(data))))
        piece = draw(st.sampled_from(PIECES) | st.binary(max_size=4))
        data = data[:start] + piece + data[end:]
    return data


@pytest.mark.parametrize("name", TARGETS)
@given(st.data())
def test_what_is_altered_is_read_or_refused(name: str, data: st.DataObject) -> None:
    """What is nearly right goes further into the code than noise does."""
    TARGETS[name].check(data.draw(altered(TARGETS[name])))


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_fuzzing_guided_by_coverage_finds_nothing(name: str) -> None:
    """Some seconds for each target; by hand it may run for hours."""
    if find_spec("atheris") is None:
        assert not (HAS_WHEELS and os.environ.get("CI")), "atheris can be installed"
        pytest.skip("atheris is not installed: pip install '.[fuzz]'")
    ended = subprocess.run(  # noqa: S603 - our own arguments
        [sys.executable, "-m", "tests.fuzz", name, "--seconds", "3"],
        cwd=Path(__file__).parent.parent,
        # Two that watch every line would be in each other's way.
        env={k: v for k, v in os.environ.items() if not k.startswith("COV")},
        check=False,
        capture_output=True,
        text=True,
    )

    assert 0 == ended.returncode, ended.stdout + ended.stderr
    assert ended.stdout.endswith("executions, no violation\n")
