"""Draw the diagrams of the docs from the tables and the schedules of the code.

Run it at the top of the repository: ``python docs/make_diagrams.py``. A test holds
that it was run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from html import escape
from importlib.util import find_spec
from pathlib import Path
from random import Random

import attrs

from camb_async import (
    AdaptiveSchedule,
    AuthenticationError,
    ConfigurationError,
    FixedInterval,
    PaymentRequiredError,
    PermissionDeniedError,
    PollSchedule,
    SessionClosedError,
    ShareOfAge,
    TaskRef,
    TaskState,
    TaskStatus,
    ValidationError,
)
from camb_async._agenda import BUCKET_WIDTH
from camb_async._tracking import DEFINITIVE, verdict


IMAGES = Path(__file__).parent / "diagrams"
#: Narrow enough for a phone, and never scaled up.
WIDTH = 440

_TASK = TaskRef("task-id")
_STYLE = """
text { font: 13px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
.code { font: 600 12.5px ui-monospace, "SFMono-Regular", Menlo, Consolas, monospace; }
.small { font-size: 11.5px; }
.end { text-anchor: end; } .mid { text-anchor: middle; }
text { fill: #22303a; } .soft { fill: #5b6b76; }
.box { fill: #eef4f4; stroke: #9fb8b8; } .good { fill: #dff2e3; stroke: #6fb480; }
.bad { fill: #fbe7e4; stroke: #d3938a; } .own { fill: #fdf3d9; stroke: #d2b25c; }
.line { stroke: #5b6b76; stroke-width: 1.4; fill: none; }
.grid { stroke: #5b6b76; stroke-opacity: .22; }
.head { fill: #5b6b76; } .dot { fill: #00897b; } .band { fill: #00897b; opacity: .18; }
.curve { stroke: #00897b; stroke-width: 2; fill: none; } .over { stroke: #c2554a; }
@media (prefers-color-scheme: dark) {
  text { fill: #dde5ea; } .soft { fill: #9fb0bb; }
  .box { fill: #243236; stroke: #57757a; } .good { fill: #1f3a29; stroke: #4f8f61; }
  .bad { fill: #43282a; stroke: #99615c; } .own { fill: #3d351f; stroke: #94803f; }
  .line { stroke: #9fb0bb; } .grid { stroke: #9fb0bb; } .head { fill: #9fb0bb; }
  .dot { fill: #4db6ac; } .band { fill: #4db6ac; } .curve { stroke: #4db6ac; }
  .over { stroke: #e08a80; }
}
"""


@attrs.define
class Drawing:
    """An SVG that grows downwards."""

    title: str
    parts: list[str] = attrs.field(factory=list[str])

    def text(self, x: float, y: float, words: str, style: str = "") -> None:
        """Write at a baseline."""
        self.parts.append(
            f'<text x="{x:g}" y="{y:g}" class="{style}">{escape(words)}</text>'
        )

    def box(
        self, x: float, y: float, width: float, height: float, style: str = "box"
    ) -> None:
        """Draw a rounded box."""
        self.parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="5" '
            f'class="{style}"/>'
        )

    def path(self, data: str, style: str = "line", *, arrow: bool = False) -> None:
        """Draw a path, with a head at its end if it is an arrow."""
        head = ' marker-end="url(#head)"' if arrow else ""
        self.parts.append(f'<path d="{data}" class="{style}"{head}/>')

    def dot(self, x: float, y: float) -> None:
        """Draw a dot."""
        self.parts.append(f'<circle cx="{x:.1f}" cy="{y:g}" r="3.2" class="dot"/>')

    def svg(self, height: float) -> str:
        """Return the whole as a file."""
        body = "\n".join(self.parts)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" '
            f'height="{height:g}" viewBox="0 0 {WIDTH} {height:g}" role="img">\n'
            f"<title>{escape(self.title)}</title>\n<style>{_STYLE}</style>\n"
            '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" '
            'markerWidth="7" markerHeight="7" orient="auto-start-reverse">'
            '<path d="M0 0 8 4 0 8z" class="head"/></marker></defs>\n'
            f"{body}\n</svg>\n"
        )


_ROW = 40


def life_of_a_task() -> str:
    """Return how a watch begins, goes on and ends."""
    drawing = Drawing("The life of a task, as a watch sees it")
    drawing.box(110, 1, 220, 44)
    drawing.text(220, 20, "a task id", "mid")
    drawing.text(220, 36, "created here, or handed in", "mid small soft")
    drawing.path("M220 45V70", arrow=True)
    going_on = [status for status in TaskStatus if not status.is_final]
    drawing.box(110, 71, 220, 62)
    drawing.text(220, 91, " or ".join(going_on), "mid code")
    drawing.text(220, 108, "not final: polled again,", "mid small soft")
    drawing.text(220, 123, "a failed poll as well", "mid small soft")
    drawing.path("M330 118h34v-32h-27", arrow=True)
    drawing.text(372, 106, "poll", "small soft")
    drawing.path(f"M30 {102}H110", "line")
    y = 160.0
    ends = list(_ends())
    drawing.path(f"M30 102V{y + _ROW * len(ends) - _ROW + 15:g}")
    for name, rest, style in ends:
        drawing.path(f"M30 {y + 15:g}h19", arrow=True)
        drawing.box(50, y, WIDTH - 52, 32, style)
        drawing.text(60, y + 20, name, "code")
        drawing.text(WIDTH - 12, y + 20, rest, "end small")
        y += _ROW
    drawing.text(50, y + 12, "Exactly one of these is the final transition.", "soft")
    return drawing.svg(y + 24)


_CAUSES: Mapping[type[Exception], str] = {
    AuthenticationError: "HTTP 401, for all tasks",
    ConfigurationError: "no usable key",
    SessionClosedError: "session closed",
    PaymentRequiredError: "HTTP 402",
    PermissionDeniedError: "HTTP 403",
    ValidationError: "HTTP 422",
}


def _ends() -> Iterable[tuple[str, str, str]]:
    for status in TaskStatus:
        if status.is_final:
            error = verdict(_TASK, TaskState(status))
            name = type(error).__name__ if error else "no error"
            yield status, name, "bad" if error else "good"
    yield "your deadline", "DeadlineExceededError", "own"
    for error_class in DEFINITIVE:
        yield _CAUSES[error_class], error_class.__name__, "own"
    yield "HTTP 404, past its grace", "NotFoundError", "own"


_STATIONS = (
    ("_agenda", f"Due now? Wakes up at most every {BUCKET_WIDTH * 1000:g} ms."),
    ("_pollers", "The next free poller takes the task."),
    ("_calls", "The session adds the key."),
    ("_limiter, _pacing", "Waits for a slot, and for the rate."),
    ("_transport", "One GET, one timeout, no redirect."),
    ("_wire, _refusals", "Bytes become a state, or an error."),
    ("_tracking", "A change? The end? When to look again?"),
    ("_outbox", "A transition, if there is one."),
)


def path_of_a_poll() -> str:
    """Return the modules that one poll goes through, in order."""
    drawing = Drawing("The path of one poll through the modules")
    left, width, height, step = 64.0, WIDTH - 66.0, 40, 56
    for number, (modules, words) in enumerate(_STATIONS):
        for module in modules.split(", "):
            if find_spec(f"camb_async.{module}") is None:
                message = f"there is no module {module} any more"
                raise LookupError(message)
        y = 1 + number * step
        drawing.box(left, y, width, height)
        drawing.text(left + 10, y + 17, modules, "code")
        drawing.text(left + 10, y + 33, words, "small soft")
        drawing.path(f"M{left + 30:g} {y + height}v{step - height - 1}", arrow=True)
    names = [modules for modules, _ in _STATIONS]
    end = 1 + len(_STATIONS) * step
    drawing.box(left, end, width, 30, "own")
    drawing.text(left + 10, end + 19, "async for t in watcher", "code")
    back, start = names.index("_tracking") * step + 21, 21
    drawing.path(f"M{left:g} {back}H34V{start}H{left - 1:g}", arrow=True)
    middle = (back + start) / 2
    drawing.parts.append(
        f'<text x="24" y="{middle:g}" class="mid small soft" '
        f'transform="rotate(-90 24 {middle:g})">again, in so many seconds</text>'
    )
    return drawing.svg(end + 32)


def layers() -> str:
    """Return which layer may import which: the arrows that a test holds."""
    drawing = Drawing("The layers of the client; arrows point at what is imported")
    half, right = 212.0, 226.0
    boxes = (
        (0.0, 1.0, WIDTH - 2.0, "cli, pytest_plugin, your program", "own"),
        (0.0, 73.0, WIDTH - 2.0, "session", "box"),
        (0.0, 145.0, half, "HTTP", "box"),
        (right, 145.0, half, "watching", "box"),
        (0.0, 217.0, half, "wire", "box"),
        (0.0, 289.0, WIDTH - 2.0, "values and decisions", "good"),
    )
    words = {
        "cli, pytest_plugin, your program": "public names only",
        "session": "joins the two below, which are blind to each other",
        "HTTP": "aiohttp: one request",
        "watching": "anyio: pollers, timers",
        "wire": "cattrs: bytes to values",
        "values and decisions": "attrs: no event loop, no clock, no chance",
    }
    for x, y, width, name, style in boxes:
        drawing.box(x + 1, y, width, 44, style)
        drawing.text(x + 12, y + 18, name, "code")
        drawing.text(x + 12, y + 35, words[name], "small soft")
    for x, y, length in (
        (220, 45, 27),
        (106, 117, 27),
        (332, 117, 27),
        (106, 189, 27),
        (332, 189, 99),
        (106, 261, 27),
    ):
        drawing.path(f"M{x} {y}v{length}", arrow=True)
    return drawing.svg(336)


def delays() -> str:
    """Return the curve of what polls by age: the delay at each."""
    drawing = Drawing("The delay until the next poll, by the age of the task")
    left, right, top, bottom = 38.0, WIDTH - 12.0, 12.0, 214.0
    most, first, last = 20.0, 1.0, 600.0

    def place(age: float, delay: float) -> str:
        share = math.log(age / first) / math.log(last / first)
        x = left + share * (right - left)
        return f"{x:.1f} {bottom - delay / most * (bottom - top):.1f}"

    for seconds in (0, 5, 10, 15, 20):
        y = float(place(1, seconds).split()[1])
        drawing.path(f"M{left:g} {y:g}H{right:g}", "grid")
        drawing.text(left - 6, y + 4, f"{seconds}", "end small soft")
    for age in (1, 3, 10, 30, 100, 300, 600):
        x = float(place(age, 0).split()[0])
        drawing.path(f"M{x:g} {bottom:g}v4", "grid")
        drawing.text(x, bottom + 17, f"{age}", "mid small soft")
    ages = [first * (last / first) ** (i / 80) for i in range(81)]
    low, middle, high = (_delays(ages, unit) for unit in (0.0, 0.5, 1.0))
    up = [place(*each) for each in zip(ages, high, strict=True)]
    down = [place(*each) for each in zip(ages, low, strict=True)]
    curve = [place(*each) for each in zip(ages, middle, strict=True)]
    drawing.path(f"M{'L'.join([*up, *down[::-1]])}Z", "band")
    drawing.path(f"M{'L'.join(curve)}", "curve")
    drawing.text(left + 8, top + 14, "seconds until the next poll", "small soft")
    drawing.text(right, bottom + 34, "age of the task, seconds", "end small soft")
    return drawing.svg(bottom + 42)


class _FixedChance(Random):
    """A source of chance that always says the same."""

    def __init__(self, unit: float) -> None:
        super().__init__(0)
        self._unit = unit

    def random(self) -> float:
        return self._unit


def _delays(ages: Iterable[float], unit: float) -> list[float]:
    schedule = ShareOfAge(random=_FixedChance(unit))
    return [schedule.next_delay(_TASK, age) for age in ages]


def _taught(random: Random) -> PollSchedule:
    """Return a schedule that has seen 100 tasks, half of them above 20 s."""
    schedule = AdaptiveSchedule(seed=3)
    for number in range(100):
        ended = random.lognormvariate(math.log(20.0), 0.5)
        schedule.learn(TaskRef(f"task-{number}"), 0.9 * ended, 1.1 * ended)
    schedule.to_dict()  # which brings it up to date
    return schedule


_STRIPS: Mapping[str, Callable[[Random], PollSchedule]] = {
    "FixedInterval(5)": lambda random: FixedInterval(5.0, random=random),
    "ShareOfAge()": lambda random: ShareOfAge(random=random),
    "AdaptiveSchedule(), taught": _taught,
}
_ENDINGS = (8.0, 41.0)


def polls() -> str:
    """Return when two tasks are polled by three schedules."""
    drawing = Drawing("When a task is polled, by three schedules")
    left, right, seconds = 12.0, WIDTH - 12.0, 50.0
    scale = (right - left) / seconds
    y = 0.0
    for ends in _ENDINGS:
        drawing.text(left, y + 16, f"A task that takes {ends:g} s")
        x = left + ends * scale
        for name, make in _STRIPS.items():
            y += 42
            times = _times(make(Random(3)), ends)
            late = times[-1] - ends
            words = f"{len(times)} polls, noticed {late:.1f} s late"
            drawing.text(left, y, name, "code")
            drawing.text(right, y, words, "end small soft")
            drawing.path(f"M{left:g} {y + 14:g}H{right:g}", "grid")
            drawing.path(f"M{x:.1f} {y + 5:g}v18", "line over")
            for at in times:
                drawing.dot(left + at * scale, y + 14)
        y += 36
    for at in range(0, 51, 10):
        drawing.text(left + at * scale, y + 8, f"{at}", "mid small soft")
    drawing.text(
        right, y + 26, "seconds; a red line is the end of the task", "end small soft"
    )
    return drawing.svg(y + 34)


def _times(schedule: PollSchedule, ends: float) -> list[float]:
    times = [schedule.next_delay(_TASK, 0.0)]
    while times[-1] < ends:
        times.append(times[-1] + schedule.next_delay(_TASK, times[-1]))
    return times


DIAGRAMS: Mapping[str, Callable[[], str]] = {
    "life-of-a-task.svg": life_of_a_task,
    "path-of-a-poll.svg": path_of_a_poll,
    "layers.svg": layers,
    "delays.svg": delays,
    "polls.svg": polls,
}


def main() -> None:
    """Write every diagram."""
    for name, draw in DIAGRAMS.items():
        (IMAGES / name).write_text(draw())


if __name__ == "__main__":
    main()
