"""Run all benchmarks, and write what they find into the docs.

``python -m tests.benchmarks`` takes about ten minutes on a machine that does
nothing else, with ``--quick`` two at the most, and then little is exact. The data go to
``docs/assets/performance.json``; ``docs/make_performance.py`` makes the page of it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import attrs

import camb_async

from . import budget, fleet, lateness, poll_cost, store_cost, watch_cost, watcher_cost
from .distributions import Distribution


ROOT = Path(__file__).parents[2]
DATA = ROOT / "docs" / "assets" / "performance.json"
_VERSIONS = ("aiohttp", "httpx", "camb-sdk", "asyncpg")


@attrs.frozen
class Size:
    """How much is done: rounds of what is timed, repeats of what is drawn by lot."""

    rounds: int = 5
    concurrencies: Sequence[int] = poll_cost.CONCURRENCIES
    seconds: float = 0.5
    sizes: Sequence[int] = watch_cost.SIZES
    interval: float = watch_cost.INTERVAL
    repeats: int = 4
    stages: Sequence[int] = (0, 5, 20, 50, 100, 200, 500)
    budget_seeds: int = 3
    budget_tasks: int = 1000
    stored: int = 20_000
    hurry: float = 1.0


FULL = Size()
QUICK = Size(
    rounds=2,
    seconds=0.1,
    sizes=(1_000, 10_000),
    interval=2.0,
    repeats=1,
    stages=lateness.STAGES,
    budget_seeds=1,
    budget_tasks=200,
    stored=2_000,
    hurry=4.0,
)

#: What is measured, in order: what depends on how busy the machine is comes first.
PARTS: Mapping[str, Callable[[Size], Sequence[Any]]] = {
    "clients": lambda size: poll_cost.rows(
        size.rounds, size.seconds, size.concurrencies
    ),
    "watching": lambda size: watcher_cost.rows(size.rounds, 8.0 * size.seconds),
    "sizes": lambda size: watch_cost.rows(size.sizes, size.interval),
    "stores": lambda size: store_cost.rows(size.rounds, size.stored),
    "fleet": lambda size: fleet.rows(size.stored, size.hurry),
    "curves": lambda size: lateness.curves(repeats=size.repeats),
    "learning": lambda size: lateness.rows(size.stages, size.repeats),
    "batches": lambda size: lateness.batches(
        repeats=2 * size.repeats, among=lateness.DRAWN
    ),
    "budget": lambda size: budget.rows(size.budget_seeds, size.budget_tasks),
}


def machine(size: Size) -> dict[str, object]:
    """Return where and with what the figures were made."""
    return {
        "date": time.strftime("%Y-%m-%d"),
        "quick": size is QUICK,
        "rounds": size.rounds,
        "repeats": size.repeats,
        "cpus": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "system": f"{platform.system()} on {platform.machine()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "camb_async": camb_async.__version__,
        **{name: version(name) for name in _VERSIONS},
    }


def plain(thing: object) -> object:
    """Return what JSON has no form for as what it has: fields, or a name."""
    if isinstance(thing, Distribution):
        return thing.name
    if isinstance(thing, budget.Load):
        return {"name": thing.name, "overload": thing.overload}
    kind: Any = type(thing)
    return {field: getattr(thing, field) for field in attrs.fields_dict(kind)}


def rounded(number: str) -> float:
    """Return a number without digits that mean nothing."""
    return float(f"{float(number):.4g}")


def measured(size: Size) -> dict[str, Any]:
    """Return all there is to know, telling on the way how long each part took."""
    found: dict[str, Any] = {"run": machine(size)}
    for name, rows in PARTS.items():
        start = time.monotonic()
        found[name] = rows(size)
        print(f"{name}: {time.monotonic() - start:.0f} s", flush=True)  # noqa: T201
    text = json.dumps(found, default=plain)
    plainly: dict[str, Any] = json.loads(text, parse_float=rounded)
    return plainly


def written(found: Mapping[str, Any]) -> str:
    """Return the file: a line for each row, so that a change can be read."""
    parts = [
        f'"{name}": '
        + (
            json.dumps(rows)
            if isinstance(rows, dict)
            else "[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]"
        )
        for name, rows in found.items()
    ]
    return "{\n" + ",\n".join(parts) + "\n}\n"


def main() -> None:
    """Measure, write the data, and have the page made."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks")
    parser.add_argument("--quick", action="store_true", help="less exact")
    size = QUICK if parser.parse_args().quick else FULL
    DATA.write_text(written(measured(size)))
    subprocess.run(  # noqa: S603 - a script of the docs
        [sys.executable, ROOT / "docs" / "make_performance.py"], check=True
    )


if __name__ == "__main__":
    main()
