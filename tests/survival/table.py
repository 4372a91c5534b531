"""The run of all probes, and the tables made of it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType

import camb_async
from tests.cases.catalogue import CASES, Group

from . import answers, connection, load, origin, refusals, waiting
from .clients import OFFICIAL, OFFICIAL_README, OURS, Client
from .stage import Outcome, Run, scripted


PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "what-it-survives.md"
_PLACE = re.compile(r"(?<=<!-- table: survival -->\n).*?(?=<!-- end -->)", re.DOTALL)

PROBES = (
    *connection.PROBES,
    *answers.PROBES,
    *refusals.PROBES,
    *waiting.PROBES,
    *load.PROBES,
    *origin.PROBES,
)

#: Cases that are left to the tests of camb_async, and why there is nothing to
#: compare.
NOT_COMPARED: Mapping[int, str] = MappingProxyType(
    {
        6: "takes a name that moves, and minutes",
        22: "a matter of many delays, not of one task",
        24: "takes a clock that jumps",
        27: "has no call for many tasks",
        28: "has no stream of changes",
        29: "has no stream of changes",
        30: "runs no code of yours",
        31: "a matter of what you store",
        32: "has no block to be used in",
        33: "takes hours",
        36: "downloads no previews, it hands out links",
        37: "downloads no previews",
        38: "downloads no previews",
        44: "downloads no previews",
        45: "downloads no previews",
        46: "has no command line",
        47: "a choice: httpx heeds the environment unless told not to",
        48: "a matter of our web example",
    }
)

#: How a loop ends is up to its author, so two are shown for these.
_LOOPS: Mapping[str, Run] = MappingProxyType(
    {
        "`ERROR` in the end": scripted("PENDING", "ERROR"),
        "`TIMEOUT` in the end": scripted("PENDING", "TIMEOUT"),
        "`PAYMENT_REQUIRED` in the end": scripted("PENDING", "PAYMENT_REQUIRED"),
        "`QUEUED` on the way": next(
            probe.run for probe in PROBES if "QUEUED" in probe.what
        ),
    }
)

# More at once would make each slower than its patience on a small machine.
_AT_ONCE = 4

Results = Mapping[tuple[Run, Client], Outcome]


async def outcomes(runs: Iterable[Run], clients: Sequence[Client]) -> Results:
    """Return what each client makes of each run."""
    slots = asyncio.Semaphore(_AT_ONCE)

    async def outcome(run: Run, client: Client) -> Outcome:
        async with slots:
            return await run(client)

    pairs = [(run, client) for run in runs for client in clients]
    found = await asyncio.gather(*(outcome(*pair) for pair in pairs))
    return dict(zip(pairs, found, strict=True))


def renewed(page: str, part: str) -> str:
    """Return the page with these tables in their place."""
    return _PLACE.sub(lambda _: f"\n{part}\n", page)


async def page_part() -> str:
    """Run everything and return the tables, in Markdown."""
    compared = await outcomes([probe.run for probe in PROBES], [OURS, OFFICIAL])
    loops = await outcomes(_LOOPS.values(), [OFFICIAL, OFFICIAL_README])
    parts = [_section(group, compared) for group in Group]
    return "\n".join([_versions(), *parts, _loops(loops)])


def _versions() -> str:
    aiohttp, httpx, sdk = map(version, ("aiohttp", "httpx", "camb-sdk"))
    return (
        f"Made with camb_async {camb_async.__version__} on aiohttp {aiohttp}, "
        f"and camb-sdk {sdk} on httpx {httpx}.\n"
    )


def _section(group: Group, results: Results) -> str:
    numbers = [number for number, case in CASES.items() if case.group is group]
    rows = [row for number in numbers for row in _rows(number, results)]
    head = ("Case", OURS.name, OFFICIAL.name)
    return f"### {group}\n\n{_table(head, rows)}"


def _rows(number: int, results: Results) -> list[Sequence[str]]:
    if number in NOT_COMPARED:
        why = f"\N{EN DASH} {NOT_COMPARED[number]}"
        return [(f"{number}. {CASES[number].title}", "in its tests", why)]
    return [
        (
            f"{number}. {probe.what}",
            *(str(results[probe.run, client]) for client in (OURS, OFFICIAL)),
        )
        for probe in PROBES
        if probe.case == number
    ]


def _loops(results: Results) -> str:
    rows = [
        (what, *(str(results[run, each]) for each in (OFFICIAL, OFFICIAL_README)))
        for what, run in _LOOPS.items()
    ]
    head = ("What happens", "until it is not `PENDING`", "until it is `SUCCESS`")
    return f"### Two loops with {OFFICIAL.name}\n\n{_table(head, rows)}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
