"""Each numbered case has a test, and each numbered test a case."""

from __future__ import annotations

import ast
import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from .catalogue import CASES


TESTS = Path(__file__).parent.parent
_NUMBERED = re.compile(r"test_case_(\d+)_\w+")


@cache
def numbered_tests() -> Counter[int]:
    """Return how many test functions name each number, in all of the tests."""
    trees = [ast.parse(path.read_text()) for path in TESTS.rglob("test_*.py")]
    functions = [
        _NUMBERED.fullmatch(node.name)
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    return Counter(int(match[1]) for match in functions if match)


def test_numbers_have_no_gaps() -> None:
    """The cases are counted from one to the last."""
    assert list(range(1, len(CASES) + 1)) == list(CASES)


@pytest.mark.parametrize("number", CASES)
def test_each_case_is_tested(number: int) -> None:
    """There is a test of that number, or a reason why there can be none."""
    tested = numbered_tests()[number] > 0

    assert tested != bool(CASES[number].untested)


def test_no_test_is_of_an_unknown_case() -> None:
    """A number in the name of a test can be looked up."""
    assert numbered_tests().keys() - CASES.keys() == set()
