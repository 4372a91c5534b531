"""Make the tables and plots of "Performance" from the data of the last run.

Run it at the top of the repository: ``python docs/make_performance.py``. The
benchmarks do so in the end (``python -m tests.benchmarks``); a test holds that the
pages show the data.
"""

from __future__ import annotations

import json
import math
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
from make_diagrams import IMAGES, WIDTH, Drawing
from make_tables import table


DOCS = Path(__file__).parent
DATA = DOCS / "assets" / "performance.json"
PAGES = (DOCS / "performance.md", DOCS.parent / "README.md")

_PLACE = re.compile(
    r"(<!-- table: (performance-[a-z]+) -->\n)(.*?)(<!-- end -->)", re.DOTALL
)
_STYLE = """<style>
.c0 { color: #00897b; } .c1 { color: #d07a22; } .c2 { color: #4a6fb5; }
.c3 { color: #a6509a; } .c4 { color: #7d8a93; }
.trace { stroke: currentColor; stroke-width: 1.8; fill: none; }
.dashed { stroke-dasharray: 4 3; } .mark { fill: currentColor; }
@media (prefers-color-scheme: dark) {
  .c0 { color: #4db6ac; } .c1 { color: #efa75c; } .c2 { color: #8fb0ec; }
  .c3 { color: #d895ce; } .c4 { color: #8d9aa3; }
}
</style>"""

OURS = "camb.poll"
WATCHER = "TaskWatcher"
ADAPTIVE = "adaptive, after 100 tasks"
#: Where clients and schedules are compared.
AT_ONCE, LEARNT = 50, 100
#: From here on a number is shown without, or with one digit behind the point.
_WHOLE, _TENTHS = 20.0, 2.0
#: The most over the least, below which an axis has more ticks.
_FEW = 50.0

#: Rows of one part of the data.
Rows = Sequence[Mapping[str, Any]]
Data = Mapping[str, Any]


def number(value: float) -> str:
    """Return a number with the digits that mean something."""
    if value >= _WHOLE:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= _TENTHS else f"{value:.2f}"


def rounds(values: Sequence[float]) -> str:
    """Return the median of some rounds, and the least and the most of them."""
    least, most = number(min(values)), number(max(values))
    return f"{number(statistics.median(values))} ({least} to {most})"


def ratio(values: Sequence[float], others: Sequence[float]) -> float:
    """Return the median of the ratios of rounds that were run in turn."""
    return statistics.median(
        value / other for value, other in zip(values, others, strict=True)
    )


def run(data: Data) -> str:
    """Return where and with what it was made."""
    made = data["run"]
    hurry = (
        "**This was a quick run, to see that it works: its figures are not exact.** "
        if made["quick"]
        else ""
    )
    versions = " and ".join(
        (
            f"camb_async {made['camb_async']} on aiohttp {made['aiohttp']}",
            f"camb-sdk {made['camb-sdk']} on httpx {made['httpx']}",
        )
    )
    return (
        f"{hurry}Made on {made['date']} with {versions}, {made['python']}, "
        f"{made['system']} with {made['cpus']} CPUs, at a load of {made['load']}. "
        f"Times are medians of {made['rounds']} rounds, with the least and the most in "
        "brackets.\n"
    )


def _by_client(data: Data) -> dict[str, dict[int, list[float]]]:
    found: dict[str, dict[int, list[float]]] = {}
    for row in data["clients"]:
        found.setdefault(row["client"], {})[row["concurrency"]] = row["rounds"]
    return found


def clients(data: Data) -> str:
    """Return what a poll costs each client."""
    found = _by_client(data)
    rows = [
        (
            f"**{name}**" if name == OURS else name,
            *(rounds(each) for each in at.values()),
            number(ratio(at[AT_ONCE], found[OURS][AT_ONCE])),
        )
        for name, at in found.items()
    ]
    heads = (f"{many} at once" for many in found[OURS])
    return table(("Client", *heads, f"Times {OURS}, {AT_ONCE} at once"), rows)


def watching(data: Data) -> str:
    """Return what a poll costs when all that is around it counts."""
    rows: Rows = data["watching"]
    ours = next(row["rounds"] for row in rows if row["way"] == WATCHER)
    return table(
        ("Way", "CPU per poll, µs", f"Times {WATCHER}"),
        [
            (row["way"], rounds(row["rounds"]), number(ratio(row["rounds"], ours)))
            for row in rows
        ],
    )


def sizes(data: Data) -> str:
    """Return what watching so many tasks costs."""
    timed = ("Add, µs", "Poll, µs", "Close, µs", "Lag, ms")
    rows = [
        (
            f"{row['tasks']:,}",
            row["way"],
            f"{row['bytes']:,.0f}",
            number(row["add"]),
            rounds(row["poll"]),
            number(row["close"]),
            number(row["lag"]) if row["lag"] is not None else " ",
        )
        for row in data["sizes"]
    ]
    return table(("Tasks", "Way", "Bytes a task", *timed), rows)


def _by_distribution(rows: Rows) -> dict[str, dict[int, Mapping[str, float]]]:
    found: dict[str, dict[int, Mapping[str, float]]] = {}
    for row in rows:
        found.setdefault(row["distribution"], {})[row["tasks"]] = row
    return found


def _over(row: Mapping[str, float], name: str = "optimum") -> float:
    return row["lateness"] / row[name]


def _gain(row: Mapping[str, float], name: str) -> float:
    return 1.0 / _over(row, name)


def _cost(row: Mapping[str, float]) -> str:
    return f"{number(row['polls'])} / {number(row['lateness'])}"


def learning(data: Data) -> str:
    """Return how late ends are noticed, by what was learnt."""
    stages = (20, LEARNT, 500)
    rows = [
        (
            name,
            _cost(at[LEARNT]),
            *(f"{_over(at[tasks]):.2f}" for tasks in stages),
            *(number(_gain(at[LEARNT], each)) for each in ("fixed", "backoff")),
        )
        for name, at in sorted(
            _by_distribution(data["learning"]).items(),
            key=lambda item: -_gain(item[1][LEARNT], "fixed"),
        )
    ]
    head = (
        "Durations",
        "Polls / late, s",
        *(f"Over the best, {tasks} tasks" for tasks in stages),
        "Fixed over ours",
        "Back-off over ours",
    )
    return table(head, rows)


def batches(data: Data) -> str:
    """Return what the first batch costs, and the fifth."""
    found: dict[tuple[str, int], list[str]] = {}
    for row in data["batches"]:
        cells = found.setdefault((row["distribution"], row["tasks"]), [])
        cells += _cost(row), number(_over(row))
    each = ("polls / late, s", "over the best")
    head = (f"{which}: {what}" for which in ("First", "Fifth") for what in each)
    rows = [(name, f"{tasks}", *cells) for (name, tasks), cells in found.items()]
    return table(("Durations", "Tasks", *head), rows)


#: What is done where not all may be polled, and the words for it.
_ORDERS = {"ranked": "ranked", "queued": "first come", "in_turn": "in turn"}


def budget(data: Data) -> str:
    """Return how late it gets where not all may be polled."""
    rows = [
        (
            row["load"]["name"],
            f"{row['load']['overload']:g}",
            *(
                f"{number(row[way]['mean'])} / {number(row[way]['p95'])}"
                for way in _ORDERS
            ),
            number(row["in_turn"]["mean"] / row["ranked"]["mean"]),
        )
        for row in data["budget"]
    ]
    orders = (words.capitalize() for words in _ORDERS.values())
    return table(("Tasks", "Wanted over allowed", *orders, "In turn over ranked"), rows)


def stores(data: Data) -> str:
    """Return what a store takes for a task and a transition."""
    parts = ("add", "claim", "record", "read")
    return table(
        ("Store", *(f"{part.capitalize()}, µs" for part in parts)),
        [
            (f"`{row['store']}`", *(rounds(row[part]) for part in parts))
            for row in data["stores"]
        ],
    )


def fleet(data: Data) -> str:
    """Return what became of the tasks of a fleet, undisturbed and in trouble."""
    cells = [_fleet_cells(row) for row in data["fleet"]]
    names = ["", *(row["story"].capitalize() for row in data["fleet"])]
    lines = zip(*(column.values() for column in cells), strict=True)
    return table(
        names, [(head, *line) for head, line in zip(cells[0], lines, strict=True)]
    )


def _fleet_cells(row: Mapping[str, Any]) -> Mapping[str, str]:
    def seconds(values: Sequence[float]) -> str:
        return " / ".join(map(number, values[:2])) or " "

    def known(value: float | None) -> str:
        return " " if value is None else number(value)

    return {
        "Tasks": f"{row['tasks']:,}",
        "Ends that were delivered": f"{row['finals']:,}",
        "Changes told under two keys": str(row["twice"]),
        "Changes delivered again, under the same key": str(row["again"]),
        "Tasks left over": str(row["left"]),
        "From a task's end to its delivery, s": seconds(row["late"]),
        "From the kill to the next worker, s": seconds(row["killed"]),
        "From the freeze to the next worker, s": seconds(row["frozen"]),
        "Statements a task": known(row["statements"]),
        "CPU of the workers, ms a task": number(row["workers"] / row["tasks"] * 1e3),
        "CPU of the server, ms a task": known(
            row["server"] and row["server"] / row["tasks"] * 1e3
        ),
    }


def claims(data: Data) -> str:
    """Return what the README says of it."""
    lines = (_claim_of_polls(data), _claim_of_sizes(data), _claim_of_learning(data))
    return "".join(f"- {line}\n" for line in lines)


def _claim_of_polls(data: Data) -> str:
    found = {name: at[AT_ONCE] for name, at in _by_client(data).items()}
    ours = found[OURS]
    sdk = next(name for name in found if name.endswith("async"))
    return (
        f"A poll takes {number(statistics.median(ours))} µs of CPU with {AT_ONCE} at "
        f"once, {number(ratio(ours, found['aiohttp']))} times as much as plain "
        f"aiohttp's `get` and `json`. {sdk.partition(',')[0]} takes "
        f"{number(ratio(found[sdk], ours))} times as much as that."
    )


def _claim_of_sizes(data: Data) -> str:
    *_, ours = (row for row in data["sizes"] if row["way"] == WATCHER)
    *_, loop = (row for row in data["sizes"] if row["way"] != WATCHER)
    cpu, theirs = (number(statistics.median(row["poll"])) for row in (ours, loop))
    return (
        f"With {ours['tasks']:,} tasks watched, each takes {ours['bytes']:,} bytes and "
        f"the scheduling {cpu} µs of CPU a poll; a coroutine per task takes "
        f"{loop['bytes']:,} bytes and {theirs} µs."
    )


def _claim_of_learning(data: Data) -> str:
    learnt = [at[LEARNT] for at in _by_distribution(data["learning"]).values()]
    gains = [_gain(row, "fixed") for row in learnt]
    return (
        f"Once it has learnt from {LEARNT} tasks, the adaptive schedule notices an end "
        f"{number(statistics.median(gains))} times as soon as a fixed interval with as "
        f"many polls ({number(min(gains))} to {number(max(gains))} times, by how the "
        f"durations are spread), {number(statistics.median(map(_over, learnt)))} times "
        "as late as the best schedule possible."
    )


_Points = Sequence[tuple[float, float]]

TABLES: Mapping[str, Callable[[Data], str]] = {
    f"performance-{make.__name__}": make
    for make in (
        *(run, clients, watching, sizes, learning, batches, budget),
        *(stores, fleet, claims),
    )
}


@attrs.frozen
class Axis:
    """Values from the lowest to the highest tick, along a line of the drawing."""

    ticks: Sequence[float]
    start: float
    end: float

    def at(self, value: float) -> float:
        """Return the place of a value: all axes are logarithmic."""
        low, high = self.ticks[0], self.ticks[-1]
        share = math.log(value / low) / math.log(high / low)
        return round(self.start + share * (self.end - self.start), 1)


@attrs.define
class Plot(Drawing):
    """A drawing with traces and marks in the colours of their series."""

    def __attrs_post_init__(self) -> None:
        self.parts.append(_STYLE)

    def mark(self, x: float, y: float, colour: int) -> None:
        """Draw a dot in the colour of a series."""
        self.parts.append(f'<circle cx="{x}" cy="{y}" r="3.4" class="mark c{colour}"/>')

    def legend(self, names: Sequence[str], y: float = 12.0, columns: int = 3) -> None:
        """Say which colour is which series."""
        for colour, name in enumerate(names):
            row, column = divmod(colour, columns)
            x = 8.0 + column * (WIDTH / columns)
            self.mark(x, y + 18.0 * row - 4.0, colour)
            self.text(x + 8.0, y + 18.0 * row, name, "small")

    def grid(self, xs: Axis, ys: Axis, *, labels: bool = True) -> None:
        """Draw the lines of two axes, and their ticks."""
        for tick in ys.ticks:
            y = ys.at(tick)
            self.path(f"M{xs.start:g} {y}H{xs.end:g}", "grid")
            self.text(xs.start - 5.0, y + 4.0, f"{tick:,g}", "end small soft")
        for tick in xs.ticks:
            x = xs.at(tick)
            self.path(f"M{x} {ys.start:g}v4", "grid")
            if labels:
                self.text(x, ys.start + 17.0, f"{tick:,g}", "mid small soft")

    def trace(self, points: _Points, colour: int, style: str = "") -> None:
        """Draw the line of a series."""
        data = "L".join(f"{x:g} {y:g}" for x, y in points)
        self.path(f"M{data}", f"trace c{colour} {style}".rstrip())


def _ticks(values: Sequence[float]) -> list[float]:
    """Return the powers of ten around some values; 2 and 5 as well if they are few."""
    low, high = min(values), max(values)
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    few = high / low < _FEW
    steps = (1.0, 2.0, 5.0) if few else (1.0,)
    ticks = [step * 10.0**power for power in range(first, last + 1) for step in steps]
    below = max(tick for tick in ticks if tick <= low)
    above = min(tick for tick in ticks if tick >= high and tick > below)
    return [tick for tick in ticks if below <= tick <= above]


def _strips(
    title: str, rows: Mapping[str, Sequence[float]], series: Sequence[str], unit: str
) -> str:
    """Return a row for each name, with a dot for each series."""
    drawing = Plot(title)
    drawing.legend(series)
    values = [value for row in rows.values() for value in row]
    xs = Axis(_ticks(values), 190.0, WIDTH - 24.0)
    bottom = 30.0 + 28.0 * len(rows)
    for tick in xs.ticks:
        drawing.path(f"M{xs.at(tick)} 26V{bottom:g}", "grid")
        drawing.text(xs.at(tick), bottom + 16.0, f"{tick:,g}", "mid small soft")
    for line, (name, row) in enumerate(rows.items()):
        y = 44.0 + 28.0 * line
        drawing.text(xs.start - 14.0, y + 4.0, name, "end small")
        drawing.path(f"M{xs.at(min(row))} {y:g}H{xs.at(max(row))}", "line")
        for colour, value in enumerate(row):
            drawing.mark(xs.at(value), y, colour)
    drawing.text(xs.end, bottom + 34.0, unit, "end small soft")
    return drawing.svg(bottom + 42.0)


def plot_clients(data: Data) -> str:
    """Return the CPU per poll of each client."""
    found = _by_client(data)
    return _strips(
        "CPU per poll, by client and concurrency",
        {
            name: [statistics.median(each) for each in at.values()]
            for name, at in found.items()
        },
        [f"{many} at once" for many in found[OURS]],
        "µs of CPU per poll",
    )


def _several(value: float | Sequence[float]) -> Sequence[float]:
    return [value] if isinstance(value, int | float) else value


def plot_sizes(data: Data) -> str:
    """Return bytes and CPU against the number of tasks."""
    drawing = Plot("Bytes and CPU of a watched task, by the number of tasks")
    rows: Rows = data["sizes"]
    ways = list(dict.fromkeys(row["way"] for row in rows))
    drawing.legend(ways)
    ticks = sorted({float(row["tasks"]) for row in rows})
    for panel, (name, words) in enumerate(
        {"bytes": "bytes a task", "poll": "µs of CPU a poll"}.items()
    ):
        found = [
            (row["way"], row["tasks"], statistics.median(_several(row[name])))
            for row in rows
        ]
        xs = Axis(ticks, 46.0 + panel * 226.0, 190.0 + panel * 226.0)
        ys = Axis(_ticks([value for _, _, value in found]), 190.0, 52.0)
        drawing.text(xs.start, 40.0, words, "small soft")
        drawing.grid(xs, ys)
        for colour, way in enumerate(ways):
            points = [
                (xs.at(tasks), ys.at(value))
                for each, tasks, value in found
                if each == way
            ]
            drawing.trace(points, colour)
            for point in points:
                drawing.mark(*point, colour)
    drawing.text(WIDTH - 12.0, 226.0, "tasks watched", "end small soft")
    return drawing.svg(234.0)


_SERIES = (ADAPTIVE, "fixed interval", "back-off", "share of the age", "best possible")


def plot_curves(data: Data) -> str:
    """Return lateness against polls, for each schedule."""
    drawing = Plot("Lateness against requests, by schedule")
    drawing.legend(_SERIES, columns=2)
    rows: Rows = data["curves"]
    for panel, name in enumerate(dict.fromkeys(row["distribution"] for row in rows)):
        x, y = 36.0 + panel % 2 * 218.0, 100.0 + panel // 2 * 178.0
        xs = Axis((2.0, 4.0, 8.0, 16.0), x, x + 176.0)
        ys = Axis((0.5, 2.0, 8.0, 32.0, 128.0), y + 128.0, y)
        drawing.text(x, y - 10.0, name, "small")
        drawing.grid(xs, ys)
        for row in rows:
            if row["distribution"] == name:
                colour = _SERIES.index(row["schedule"])
                points = [(xs.at(a), ys.at(b)) for a, b in _within(xs, row["costs"])]
                best = row["schedule"] == _SERIES[-1]
                drawing.trace(points, colour, "dashed" if best else "")
    drawing.text(4.0, 72.0, "seconds late", "small soft")
    drawing.text(WIDTH - 10.0, 440.0, "polls a task", "end small soft")
    return drawing.svg(448.0)


def _within(
    xs: Axis, costs: Sequence[tuple[float, float]]
) -> list[tuple[float, float]]:
    """Return the points on an axis that are not, but for chance, the one before."""
    found: list[tuple[float, float]] = []
    for polls, late in costs:
        news = not found or polls > found[-1][0] * 1.05
        if news and xs.ticks[0] * 0.85 <= polls <= xs.ticks[-1] * 1.02:
            found.append((polls, late))
    return found


_SHOWN = (
    "lognormal .25",
    "lognormal .8",
    "exponential",
    "bimodal 8 / 180",
    "retries 40 / 80 / 120",
)


def plot_learning(data: Data) -> str:
    """Return how far from the best possible it is, by how many tasks were learnt."""
    drawing = Plot("Lateness over the best possible, by what was learnt")
    drawing.legend(_SHOWN)
    found = _by_distribution(data["learning"])
    stages = list(found[_SHOWN[0]])
    # The stages stand side by side: nothing learnt has no place on a scale of its own.
    xs = Axis([2.0**index for index in range(len(stages))], 40.0, WIDTH - 22.0)
    ys = Axis((1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0), 226.0, 68.0)
    drawing.text(4.0, 54.0, "times as late as the best possible", "small soft")
    drawing.grid(xs, ys, labels=False)
    for index, tasks in enumerate(stages):
        drawing.text(xs.at(2.0**index), 243.0, f"{tasks}", "mid small soft")
    for colour, name in enumerate(_SHOWN):
        points = [
            (xs.at(2.0**index), ys.at(max(1.0, _over(found[name][tasks]))))
            for index, tasks in enumerate(stages)
        ]
        drawing.trace(points, colour)
        for point in points:
            drawing.mark(*point, colour)
    drawing.text(WIDTH - 10.0, 262.0, "tasks learnt", "end small soft")
    return drawing.svg(270.0)


def plot_budget(data: Data) -> str:
    """Return how late it gets where a fraction of what is wanted may be polled."""
    rows: Rows = data["budget"]
    most = max(row["load"]["overload"] for row in rows)
    return _strips(
        "Lateness on a budget that is too small, by who goes first",
        {
            row["load"]["name"]: [row[way]["mean"] for way in _ORDERS]
            for row in rows
            if row["load"]["overload"] == most
        },
        list(_ORDERS.values()),
        f"seconds late on average, {most:g} times as much wanted as allowed",
    )


PLOTS: Mapping[str, Callable[[Data], str]] = {
    f"performance-{make.__name__.removeprefix('plot_')}.svg": make
    for make in (plot_clients, plot_sizes, plot_curves, plot_learning, plot_budget)
}


def load() -> Data:
    """Return the data of the last run."""
    data: Data = json.loads(DATA.read_text())
    return data


def renewed(page: str, data: Data) -> str:
    """Return a page with its tables as the data have them."""
    return _PLACE.sub(lambda at: f"{at[1]}\n{TABLES[at[2]](data)}\n{at[4]}", page)


def main() -> None:
    """Write the plots, and the tables of the pages."""
    data = load()
    for name, draw in PLOTS.items():
        (IMAGES / name).write_text(draw(data))
    for page in PAGES:
        page.write_text(renewed(page.read_text(), data))


if __name__ == "__main__":
    main()
