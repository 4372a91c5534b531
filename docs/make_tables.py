"""Write into the docs the tables that come from the code.

Run it at the top of the repository: ``python docs/make_tables.py``. A test holds
that it was run. A table stands between ``<!-- table: NAME -->`` and ``<!-- end -->``.
"""

from __future__ import annotations

import ast
import inspect
import math
import re
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from random import Random
from typing import Any

import typer.main

import camb_async
from camb_async import (
    AdaptiveSchedule,
    FixedInterval,
    PollSchedule,
    RetryPolicy,
    ShareOfAge,
    TaskRef,
    TaskState,
    TaskStatus,
    errors,
)
from camb_async._refusals import Reply, error_from
from camb_async._tracking import DEFINITIVE, SESSION_WIDE, verdict
from camb_async.cli.app import app
from camb_async.cli.exits import ExitCode, code_of_error
from camb_async.kinds import PATHS
from camb_async.simulator import FAULTS, SCENARIOS


DOCS = Path(__file__).parent
PACKAGE = Path(camb_async.__file__).parent

_TASK = TaskRef("task-id")
_PLACE = re.compile(r"(<!-- table: ([a-z-]+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def code(text: object) -> str:
    """Return a text as inline code."""
    return f"`{text}`"


def summary(thing: object) -> str:
    """Return the first line of a docstring, in Markdown."""
    text = inspect.getdoc(thing) or ""
    return text.partition("\n\n")[0].replace("\n", " ").replace("``", "`")


def statuses() -> str:
    """Return what each status means."""
    rows: list[tuple[str, ...]] = []
    for status in TaskStatus:
        guidance = status.guidance
        error = verdict(_TASK, TaskState(status)) if status.is_final else None
        rows.append(
            (
                f"{guidance.icon} {code(status)}",
                "yes" if status.is_final else "no",
                code(guidance.action),
                code(type(error).__name__) if error else "none",
            )
        )
    return table(("Status", "Final", "Recommended action", "Error"), rows)


#: The answers worth a row of their own; the rules hold for every status.
_HTTP_STATUSES = (
    *(302, 400, 401, 402, 403, 404, 408, 422, 425, 429),
    *(500, 501, 502, 503, 504, 505),
)


def http_statuses() -> str:
    """Return what each HTTP status does to a read and to a watch."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    for status in _HTTP_STATUSES:
        error = error_from(Reply(status, {}, b""))
        name = type(error).__name__
        if isinstance(error, SESSION_WIDE):
            watch = "ends every watch of the session"
        elif isinstance(error, DEFINITIVE):
            watch = "ends this watch"
        elif isinstance(error, errors.NotFoundError):
            watch = "ends this watch after `not_found_grace`"
        else:
            watch = "goes on until the deadline"
        read = "tried again" if error.retryable else "raises at once"
        groups.setdefault((code(name), read, watch), []).append(str(status))
    rows = [(", ".join(group), *what) for what, group in groups.items()]
    return table(("Answer", "Error", "A single read", "A watch"), rows)


def error_tree() -> str:
    """Return the tree of errors from the module's docstring."""
    text = inspect.getdoc(errors) or ""
    lines = text.splitlines()
    first = next(i for i, line in enumerate(lines) if line.strip() == "CambError")
    tree = [line.removeprefix("    ") for line in lines[first:]]
    return "\n".join(["```text", *tree[: tree.index("")], "```", ""])


def error_classes() -> str:
    """Return where mkdocstrings is to put the docs of each error."""
    options = "    options:\n      merge_init_into_class: false\n"
    options += "      show_signature: false\n"
    names = [each.__name__ for each in camb_errors()]
    return "\n".join(f"::: camb_async.{name}\n{options}" for name in names)


def exit_codes() -> str:
    """Return each exit code, and the errors that it stands for."""
    meanings = {
        ExitCode.SUCCESS: "every task succeeded",
        ExitCode.FAILED: "some task failed, or is not known",
        ExitCode.USAGE: (
            "the command line cannot be understood, or its store or output used"
        ),
        ExitCode.AUTHENTICATION: "no key, a refused key, or a key without the right",
        ExitCode.PAYMENT: "no credits",
        ExitCode.NETWORK: "no usable answer from the API, or from a store",
        ExitCode.DEADLINE: "the deadline passed, and the tasks go on",
        ExitCode.INTERRUPTED: "Ctrl-C",
        ExitCode.BROKEN_PIPE: "whoever read stdout is gone",
        ExitCode.TERMINATED: "SIGTERM",
    }
    classes = [each for each in camb_errors() if each is not errors.CambError]
    named: dict[ExitCode, list[str]] = {}
    for each in classes:
        # The rule looks at classes only, so an empty instance will do.
        named.setdefault(code_of_error(each.__new__(each)), []).append(each.__name__)
    # A closed session or watcher is a fault of the program, which has none.
    programming = {"SessionClosedError", "WatcherClosedError"}
    rows = [
        (
            code(int(each)),
            meaning,
            ", ".join(code(n) for n in named.get(each, []) if n not in programming)
            or " ",
        )
        for each, meaning in meanings.items()
    ]
    return table(("Code", "Meaning", "Errors"), rows)


def camb_errors() -> list[type[errors.CambError]]:
    """Return every class of the tree, as they stand in the module."""
    return [
        each
        for each in vars(errors).values()
        if inspect.isclass(each) and issubclass(each, errors.CambError)
    ]


def scenarios() -> str:
    """Return what each scenario does."""
    rows: list[tuple[str, ...]] = []
    for name, each in SCENARIOS.items():
        total = sum(each.outcomes.values())
        shares = (f"{s} {100 * w / total:.0f}%" for s, w in each.outcomes.items())
        longest = "" if math.isinf(each.longest) else f" to {each.longest:g}"
        faults = ", ".join(code(fault.name) for fault in each.faults)
        rows.append(
            (
                code(name),
                f"{each.shortest:g}{longest} s, half above {each.median:g}",
                ", ".join(shares),
                f"{100 * each.fault_rate:.0f}% of status answers: {faults}"
                if faults
                else "none",
            )
        )
    return table(("Scenario", "A task takes", "Outcomes", "Faults"), rows)


def faults() -> str:
    """Return what each fault does, by the docstring of its function."""
    rows: list[tuple[str, str, str]] = []
    for name, function in FAULTS.items():
        _call, *parameters = inspect.signature(function).parameters.values()
        shown = ", ".join(code(f"{p.name}={_short(p.default)}") for p in parameters)
        rows.append((code(name), summary(function), shown or " "))
    return table(("Fault", "What happens", "Options"), rows)


def _short(value: object) -> str:
    return "..." if isinstance(value, tuple) else repr(value)


def kinds() -> str:
    """Return where each kind of task is served."""
    rows = [
        (
            code(f"TaskKind.{kind.name}"),
            code(kind.value),
            code(f"GET {paths.status}"),
        )
        for kind, paths in PATHS.items()
    ]
    return table(("Kind", "On the command line", "Status is read at"), rows)


def commands() -> str:
    """Return the arguments and options of each command."""
    group: Any = typer.main.get_command(app)
    return "\n".join(
        f"## `camb-async {name}`\n\n{command.help}\n\n{_options(command)}"
        for name, command in group.commands.items()
    )


def _options(command: Any) -> str:
    rows: list[tuple[str, str, str]] = []
    for each in command.params:
        spelled, default = each.metavar, "required" if each.required else " "
        if each.param_type_name == "option":
            spelled = "/".join([*each.opts, *each.secondary_opts])
            if not each.is_flag:
                spelled += f" {each.metavar or each.name.upper()}"
                default = default if each.default is None else code(each.default)
        rows.append((code(spelled), each.help, default))
    return table(("Argument", "What it does", "Default"), rows)


def logs() -> str:
    """Return every message that is logged, by level."""
    rows: list[tuple[str, str]] = []
    for path in sorted([*PACKAGE.glob("*.py"), *PACKAGE.glob("stores/*.py")]):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(
                    func=ast.Attribute(value=ast.Name(id="logger"), attr=level),
                    args=[ast.Constant(value=str(message)), *_],
                ):
                    shown = re.sub(r"%[srd]", "\N{HORIZONTAL ELLIPSIS}", message)
                    rows.append((level.upper(), shown))
                case _:
                    pass
    return table(("Level", "Message"), sorted(rows))


_LAYERS = {
    "TOP": "The session",
    "STORES": "Stores",
    "HTTP": "HTTP",
    "WATCHING": "Watching",
    "WIRE": "The wire",
    "VALUES": "Values and decisions",
}


def modules() -> str:
    """Return the modules of the client by the layers that a test holds apart."""
    source = (DOCS.parent / "tests" / "test_layers.py").read_text()
    named = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in ast.parse(source).body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and node.targets[0].id in _LAYERS
    }
    parts: list[str] = []
    for layer, heading in _LAYERS.items():
        rows = [
            (code(name), summary(import_module(f"camb_async.{name}")))
            for name in named[layer]
            if name not in {"__init__", "_version", "stores"}
        ]
        parts.append(f"### {heading}\n\n{table(('Module', 'What it is'), rows)}")
    return "\n".join(parts)


class _BackOff:
    """Exponential back-off with full jitter up to a minute, for comparison."""

    def __init__(self, random: Random) -> None:
        self._policy = RetryPolicy(backoff_initial=1.0, backoff_max=60.0)
        self._random = random
        self._polls = 0

    def next_delay(
        self,
        task: TaskRef,  # noqa: ARG002 - the protocol's
        age: float,
        *,
        age_known: bool = True,  # noqa: ARG002
    ) -> float:
        """Return a delay whose bound doubles with each poll of a task."""
        self._polls = 1 if age == 0.0 else self._polls + 1
        return self._policy.backoff(self._polls, self._random.random())

    def learn(
        self, task: TaskRef, lower: float, upper: float, *, entry: float = 0.0
    ) -> None:
        """Learn nothing."""


def _adaptive(_random: Random) -> PollSchedule:
    return AdaptiveSchedule(seed=1)


#: What is compared, and from how many tasks each has learnt.
_COMPARED: Mapping[str, tuple[Callable[[Random], PollSchedule], int]] = {
    "`FixedInterval(1)`": (lambda random: FixedInterval(1.0, random=random), 0),
    "`FixedInterval(5)`": (lambda random: FixedInterval(5.0, random=random), 0),
    "back-off to 60 s, full jitter": (_BackOff, 0),
    "`ShareOfAge()`": (lambda random: ShareOfAge(random=random), 0),
    "`AdaptiveSchedule()`, nothing learnt": (_adaptive, 0),
    "`AdaptiveSchedule()`, after 10 tasks": (_adaptive, 10),
    "`AdaptiveSchedule()`, after 300": (_adaptive, 300),
    "`AdaptiveSchedule(latency=3)`, after 300": (
        lambda _random: AdaptiveSchedule(latency=3.0, seed=1),
        300,
    ),
}
#: Between which ages tasks end, each factor as likely as any other.
_DURATIONS = {
    "6 s task": (5.0, 7.2),
    "60 s task": (50.0, 72.0),
    "600 s task": (500.0, 720.0),
    "10 to 360 s": (10.0, 360.0),
}
_TASKS = 400


def costs() -> str:
    """Return the requests and the lateness of some schedules, simulated."""
    rows = [
        (name, *(_cost(make, lessons, *ends) for ends in _DURATIONS.values()))
        for name, (make, lessons) in _COMPARED.items()
    ]
    return table(("Schedule", *_DURATIONS), rows)


def _cost(
    make: Callable[[Random], PollSchedule], lessons: int, first: float, last: float
) -> str:
    random = Random(1)
    schedule = make(random)
    polls: list[int] = []
    lateness: list[float] = []
    for number in range(lessons + _TASKS):
        task = TaskRef(f"task-{number}")
        # Tasks of the same length would meet a fixed interval in step.
        ends = first * (last / first) ** random.random()
        seen, age, count = 0.0, schedule.next_delay(task, 0.0), 1
        while age < ends:
            seen, age, count = age, age + schedule.next_delay(task, age), count + 1
        if number < lessons:
            schedule.learn(task, seen, age)
        else:
            polls.append(count)
            lateness.append(age - ends)
    worst = statistics.quantiles(lateness, n=20)[-1]
    mean = statistics.mean(lateness)
    return f"{statistics.mean(polls):.0f} / {mean:.1f} / {worst:.1f}"


TABLES: Mapping[str, Callable[[], str]] = {
    "commands": commands,
    "costs": costs,
    "error-classes": error_classes,
    "error-tree": error_tree,
    "exit-codes": exit_codes,
    "faults": faults,
    "http": http_statuses,
    "kinds": kinds,
    "logs": logs,
    "modules": modules,
    "scenarios": scenarios,
    "statuses": statuses,
}


#: Made by a run, not from the code: ``python -m tests.survival`` and, for the rest,
#: ``python -m tests.benchmarks``.
FROM_A_RUN = frozenset(
    {
        "survival",
        "performance-batches",
        "performance-budget",
        "performance-claims",
        "performance-clients",
        "performance-fleet",
        "performance-learning",
        "performance-run",
        "performance-sizes",
        "performance-stores",
        "performance-watching",
    }
)


def renewed(page: str) -> str:
    """Return a page with its tables as the code has them now."""

    def renew(place: re.Match[str]) -> str:
        if place[2] in FROM_A_RUN:
            return place[0]
        return f"{place[1]}\n{TABLES[place[2]]()}\n{place[4]}"

    return _PLACE.sub(renew, page)


def pages() -> list[Path]:
    """Return the pages that have tables."""
    found = sorted(DOCS.rglob("*.md"))
    return [path for path in found if _PLACE.search(path.read_text())]


def main() -> None:
    """Renew the tables of every page."""
    for path in pages():
        path.write_text(renewed(path.read_text()))


if __name__ == "__main__":
    main()
