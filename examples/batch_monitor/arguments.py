"""What the command line takes."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import attrs


_DESCRIPTION = """\
Make a voice of each row of a table, and lose none of them: create, watch, download.

The key is read from CAMB_API_KEY, the address of the API from CAMB_BASE_URL. Without
a key it runs on a built-in simulator.

Ctrl-C or a kill at any time: the same command goes on where it stopped, sends nothing
twice and misses nothing.

Exit codes: 0 all succeeded, 1 some failed, 2 usage, 3 authentication, 4 payment,
130 Ctrl-C.
"""


@attrs.frozen(kw_only=True)
class Arguments:
    """What the command line asks for; times are in seconds."""

    rows: Path
    out: Path
    plot: Path
    store: str
    concurrency: int
    deadline: float
    interval: float | None
    max_rate: float
    allow_short: bool
    recreate_unknown: bool
    speed: float


def parse_arguments(arguments: list[str] | None = None) -> Arguments:
    """Return the arguments of this process; exits with 2 if they make no sense."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.batch_monitor",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "rows",
        type=Path,
        help="CSV, or NDJSON: description, text, and if you like name and id",
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="the directory for all that is made"
    )
    parser.add_argument(
        "--plot",
        type=_picture,
        metavar="FILE",
        help="the picture, .svg or .png (default: timeline.svg in the directory)",
    )
    parser.add_argument(
        "--store",
        metavar="FILE_OR_DSN",
        help="keeps what is watched (default: watches.db in the directory)",
    )
    parser.add_argument(
        "--concurrency", type=_count, default=4, metavar="N", help="creates at one time"
    )
    for option, default, metavar, what in (
        ("--deadline", 3600.0, "SECONDS", "how long each task is given"),
        ("--interval", None, "SECONDS", "poll so often, rather than as learnt"),
        ("--max-rate", 50.0, "N", "requests a second"),
        ("--speed", 1.0, "FACTOR", "of the built-in simulator"),
    ):
        parser.add_argument(
            option, type=_positive, default=default, metavar=metavar, help=what
        )
    for option, what in (
        ("--allow-short", "send descriptions that are shorter than they should be"),
        (
            "--recreate-unknown",
            "send rows again that may have a task (look in the studio first)",
        ),
    ):
        parser.add_argument(option, action="store_true", help=what)
    given = vars(parser.parse_args(arguments))
    given["plot"] = given["plot"] or given["out"] / "timeline.svg"
    given["store"] = given["store"] or str(given["out"] / "watches.db")
    return Arguments(**given)


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        message = "must be at least 1"
        raise argparse.ArgumentTypeError(message)
    return number


def _positive(text: str) -> float:
    number = float(text)
    if not (math.isfinite(number) and number > 0):
        message = "must be a number above 0"
        raise argparse.ArgumentTypeError(message)
    return number


def _picture(text: str) -> Path:
    path = Path(text)
    if path.suffix.lower() not in {".svg", ".png"}:
        message = "must end in .svg or .png"
        raise argparse.ArgumentTypeError(message)
    return path
