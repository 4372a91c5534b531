"""Fuzz one target, guided by coverage, and end with a verdict.

Exits with 0 when the time is over, and with 1 when an input broke a promise: the
input is printed as hex, and ``--input HEX`` tries it again.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
import traceback
from importlib import import_module
from pathlib import Path
from random import Random
from typing import Any, NoReturn


# It has no types, and there is none for every machine.
atheris: Any = import_module("atheris")

# Only what is imported here is watched, so the imports stand inside.
with atheris.instrument_imports(include=["camb_async", "yarl", "email", "urllib"]):
    from .documents import alter
    from .targets import PIECES, TARGETS, Target


_INPUT_MAX = 4096
_HANG = 10  # seconds for one input


class Campaign:
    """One target under fuzzing for some seconds."""

    def __init__(self, name: str, seconds: float, directory: str) -> None:
        self._name = name
        self._check = TARGETS[name].check
        self._ends = time.monotonic() + seconds
        self._directory = directory
        self._executions = 0

    def try_input(self, data: bytes) -> None:
        """Check one input; end the process on a violation, or when time is over."""
        self._executions += 1
        try:
            self._check(data)
        except BaseException:  # noqa: BLE001 - anything at all is a violation
            traceback.print_exc()
            self._end(1, f"VIOLATION by --input {data.hex()}")
        if time.monotonic() > self._ends:
            self._end(0, "no violation")

    def _end(self, code: int, verdict: str) -> NoReturn:
        print(f"{self._name}: {self._executions} executions, {verdict}", flush=True)  # noqa: T201
        shutil.rmtree(self._directory, ignore_errors=True)
        # libFuzzer never returns, and would call an exception of ours a crash.
        os._exit(code)


def fuzz(name: str, seconds: float, seed: int) -> None:
    """Try inputs until the time is over."""
    with tempfile.TemporaryDirectory() as directory:
        corpus, words = _plant(TARGETS[name], Path(directory))
        flags = {
            "seed": seed,
            "max_len": _INPUT_MAX,
            "timeout": _HANG,
            "dict": words,
            "verbosity": 0,
        }
        arguments = [f"-{flag}={value}" for flag, value in flags.items()]
        campaign = Campaign(name, seconds, directory)
        arguments = [sys.argv[0], *arguments, str(corpus)]
        atheris.Setup(arguments, campaign.try_input, custom_mutator=_mutate)
        atheris.Fuzz()


def _mutate(data: bytes, size_max: int, seed: int) -> bytes:
    random = Random(seed)
    altered = alter(data, random) if random.random() < 0.5 else None
    if altered is None:
        mutated: bytes = atheris.Mutate(data, size_max)
        return mutated
    return altered[:size_max]


def _plant(target: Target, directory: Path) -> tuple[Path, Path]:
    """Write what libFuzzer starts from: a corpus and a dictionary."""
    corpus, words = directory / "corpus", directory / "words"
    corpus.mkdir()
    for number, seed in enumerate(target.seeds):
        (corpus / str(number)).write_bytes(seed)
    escaped = ("".join(f"\\x{byte:02x}" for byte in piece) for piece in PIECES)
    words.write_text("".join(f'"{piece}"\n' for piece in escaped))
    return corpus, words


def main() -> None:
    """Read the arguments, and fuzz or try one input."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--input", type=bytes.fromhex, metavar="HEX")
    given = parser.parse_args()
    if given.input is None:
        fuzz(given.target, given.seconds, given.seed)
    else:
        TARGETS[given.target].check(given.input)


main()
