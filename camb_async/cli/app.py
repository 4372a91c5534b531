"""The commands and their options; what they do is in the modules beside this."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from camb_async import CambError, TaskRef, __version__
from camb_async.simulator import SCENARIOS, Simulator

from .checks import (
    context_of,
    deadline_of,
    given,
    make_directory,
    positive,
    store_place,
    voice_task,
)
from .demo import DemoOptions, run_demo
from .exits import ExitCode, code_of_error
from .fleet import WorkOptions, add_tasks, tail, work_for
from .ids import read_tasks
from .runner import Command, run
from .screen import Screen
from .simulate import simulate
from .status import show_status
from .stored import watch_stored
from .voice import VoiceOptions, Wish, make_voice
from .watch import WatchOptions, watch


_HELP = """Wait for many Camb.ai voice tasks at once.

The API key is read from CAMB_API_KEY, the address of the API from CAMB_BASE_URL.

Watched tasks outlive the process in a store: --store, or CAMB_STORE.

Data goes to stdout, talk to stderr. Exit codes: 0 all succeeded, 1 some task
failed, 2 usage, 3 authentication, 4 payment, 5 network, 6 deadline, 130/143
interrupted. Of several the first of 3, 4, 5, 6, 1 is told.
"""

app = typer.Typer(
    help=_HELP,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

AsJson = Annotated[
    bool, typer.Option("--json", help="Write one JSON object a line to stdout.")
]
NoColor = Annotated[
    bool, typer.Option("--no-color", help="No colours, as with NO_COLOR set.")
]
Deadline = Annotated[
    str,
    typer.Option(
        metavar="SECONDS", help="How long a task is given; none for no limit."
    ),
]
Memory = Annotated[
    bool | None,
    typer.Option(
        "--memory/--no-memory",
        help="Keep what is learnt of how long tasks take from one run to the next; "
        "by default so unless the service is on this machine.",
    ),
]
MaxRate = Annotated[
    float, typer.Option(metavar="N", help="Requests a second, over all tasks.")
]
_STORE = (
    "the path of a file, or the DSN of a PostgreSQL server. "
    "Also taken from CAMB_STORE, where a DSN with a password belongs: options are "
    "seen by everybody who lists processes."
)
Store = Annotated[
    str,
    typer.Option(
        metavar="STORE",
        envvar="CAMB_STORE",
        show_envvar=False,
        help=f"Where the watched tasks are: {_STORE}",
    ),
]
UntilEmpty = Annotated[
    bool,
    typer.Option("--until-empty", help="End once no task of the store is watched."),
]
Seed = Annotated[int, typer.Option(help="What all chance is drawn from.")]
Speed = Annotated[float, typer.Option(help="The factor on time: 2 is twice as fast.")]
_IDS = (
    "Task ids, as ID or kind:ID (such as dub:ID); - reads them from stdin, one a line."
)


def run_app() -> None:
    """Run the command that this process was asked for, and exit."""
    app(prog_name="camb-async")


def _version(wanted: bool) -> None:  # noqa: FBT001 - how typer calls it
    if wanted:
        typer.echo(f"camb-async {__version__}")
        raise typer.Exit


@app.callback()
def options(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Show the version."
        ),
    ] = False,
) -> None:
    """Take the options that belong to no command; its help is that of the app."""


@app.command("demo")
def demo_command(
    seed: Seed = 2,
    speed: Speed = 1.0,
    *,
    as_json: AsJson = False,
    no_color: NoColor = False,
) -> None:
    """Watch forty simulated voices: no key, no network, no cost.

    A simulator on this machine makes them, drops connections, answers 502 and
    lets some of them fail, so that you see what waiting well looks like.
    """
    chosen = DemoOptions(seed=seed, speed=positive(speed, "--speed"), as_json=as_json)
    screen = Screen.of_process(color=not no_color)
    _finish(lambda: run_demo(chosen, screen), screen)


@app.command("watch")
def watch_command(
    ids: Annotated[
        list[str] | None,
        typer.Argument(metavar="ID", show_default=False, help=_IDS),
    ] = None,
    deadline: Deadline = "3600",
    interval: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            help="Poll each task this often, rather than as is learnt from how long "
            "tasks take.",
        ),
    ] = None,
    max_rate: MaxRate = 50.0,
    store: Annotated[
        str | None,
        typer.Option(
            metavar="STORE",
            envvar="CAMB_STORE",
            show_envvar=False,
            help="Keep the tasks where they outlive the process, and take up what is "
            f"there: {_STORE}",
        ),
    ] = None,
    *,
    memory: Memory = None,
    as_json: AsJson = False,
    no_color: NoColor = False,
) -> None:
    """Report every change of tasks until each has ended.

    On a terminal it shows a live table; elsewhere it writes one line for each
    change. A failed poll is no failed task: it goes on until the deadline.

    With a store it takes up what is there, too, and needs no ids. Killed at any
    moment and run again it goes on, and repeats nothing under another key.
    """
    if not ids and store is None:
        message = "is needed, unless --store says where tasks are"
        raise typer.BadParameter(message, param_hint="ID")
    chosen = WatchOptions(
        deadline=deadline_of(deadline),
        interval=None if interval is None else positive(interval, "--interval"),
        max_rate=positive(max_rate, "--max-rate"),
        memory=memory,
        as_json=as_json,
    )
    where = None if store is None else store_place(store)
    screen = Screen.of_process(color=not no_color)
    tasks = _tasks(ids or [], screen)
    if where is None:
        _finish(lambda: watch(tasks, chosen, screen), screen)
    _finish(lambda: watch_stored(where, tasks, chosen, screen), screen)


@app.command("status")
def status_command(
    task_id: Annotated[
        str, typer.Argument(metavar="ID", help="A task id, as ID or kind:ID.")
    ],
    *,
    as_json: AsJson = False,
) -> None:
    """Read one task's status once, and say what to do about it.

    A task that is under way exits with 0, as one that succeeded.
    """
    screen = Screen.of_process()
    if task_id == "-":
        message = "status takes one id; it is watch that reads ids from stdin"
        raise typer.BadParameter(message, param_hint="ID")
    (task,) = _tasks([task_id], screen)
    _finish(lambda: show_status(task, screen, as_json=as_json), screen)


@app.command("voice")
def voice_command(
    description: Annotated[
        str | None,
        typer.Argument(
            metavar="DESCRIPTION",
            show_default=False,
            help="What the voice is like, in at least 18 words and 100 characters.",
        ),
    ] = None,
    text: Annotated[str | None, typer.Option(help="What the previews say.")] = None,
    task: Annotated[
        str | None,
        typer.Option(
            metavar="ID",
            help="Create nothing: wait for this task, and fetch its previews.",
        ),
    ] = None,
    *,
    out: Annotated[
        Path,
        typer.Option(
            metavar="DIR",
            help="Where the previews go; no file is ever overwritten.",
        ),
    ] = Path(),
    deadline: Deadline = "3600",
    project_name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="What the run is called in the studio."),
    ] = None,
    memory: Memory = None,
    as_json: AsJson = False,
    no_color: NoColor = False,
) -> None:
    """Describe a voice, wait for it, and fetch its previews.

    Writes the path of each preview to stdout. An interrupted task goes on
    remotely: voice --task ID takes it up again.
    """
    screen = Screen.of_process(color=not no_color)
    options = VoiceOptions(
        directory=out,
        deadline=deadline_of(deadline),
        memory=memory,
        as_json=as_json,
    )
    asked: Wish | TaskRef
    if task is None:
        asked = Wish(
            description=given(description, "DESCRIPTION"),
            text=given(text, "--text"),
            project_name=project_name,
        )
    elif description is text is project_name is None:
        asked = voice_task(task)
    else:
        message = "is taken up as it is: leave out DESCRIPTION, --text, --project-name"
        raise typer.BadParameter(message, param_hint="--task")
    make_directory(out)
    _finish(lambda: make_voice(asked, options, screen), screen)


@app.command("add")
def add_command(
    ids: Annotated[list[str], typer.Argument(metavar="ID", help=_IDS)],
    store: Store,
    deadline: Deadline = "3600",
    context: Annotated[
        str | None,
        typer.Option(
            metavar="JSON", help="What is handed back with each of their transitions."
        ),
    ] = None,
) -> None:
    """Have workers watch tasks: write them into a store.

    Writes to stdout how many are new: what is watched already stays as it is.
    """
    where, seconds = store_place(store), deadline_of(deadline)
    value = context_of(context)
    screen = Screen.of_process()
    tasks = _tasks(ids, screen)
    _finish(
        lambda: add_tasks(where, tasks, screen, context=value, deadline=seconds),
        screen,
    )


@app.command("work")
def work_command(
    store: Store,
    capacity: Annotated[
        int, typer.Option(metavar="N", min=1, help="How many tasks it holds at most.")
    ] = 2000,
    max_rate: MaxRate = 50.0,
    *,
    until_empty: UntilEmpty = False,
    memory: Memory = None,
) -> None:
    """Watch the tasks of a store, as one of any number of workers.

    Each task is watched by one worker at a time, and what becomes of it is
    recorded, for tail. Ctrl-C and SIGTERM give back what is held, at once. Writes
    nothing to stdout, and ends with 0 whatever becomes of the tasks.
    """
    options = WorkOptions(
        capacity=capacity,
        max_rate=positive(max_rate, "--max-rate"),
        until_empty=until_empty,
        memory=memory,
    )
    where = store_place(store)
    screen = Screen.of_process()
    _finish(lambda: work_for(where, options, screen), screen)


@app.command("tail")
def tail_command(
    store: Store, *, until_empty: UntilEmpty = False, as_json: AsJson = False
) -> None:
    """Write what becomes of the tasks of a store, as it is recorded.

    A transition is acknowledged, and then forgotten, once its line is written: what
    a reader that has gone did not get, the next one gets. Several share what there
    is. Ends with 0 whatever becomes of the tasks.
    """
    where = store_place(store)
    screen = Screen.of_process()
    _finish(
        lambda: tail(where, screen, as_json=as_json, until_empty=until_empty), screen
    )


@app.command("simulate")
def simulate_command(
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one.")] = 0,
    speed: Speed = 1.0,
    seed: Seed = 0,
    scenario: Annotated[
        str, typer.Option(help=f"How tasks behave: {', '.join(SCENARIOS)}.")
    ] = "lifelike",
) -> None:
    """Serve a simulated API on this machine until Ctrl-C.

    The first line on stdout is its base URL; how to use it is told on stderr.
    """
    speed = positive(speed, "--speed")
    screen = Screen.of_process()
    try:
        simulator = Simulator(scenario, seed=seed, speed=speed, port=port)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--scenario") from error
    _finish(lambda: simulate(simulator, screen), screen)


def _finish(command: Command, screen: Screen) -> NoReturn:
    raise typer.Exit(run(command, screen))


def _tasks(ids: list[str], screen: Screen) -> list[TaskRef]:
    try:
        return read_tasks(ids, sys.stdin or ())
    except CambError as error:
        screen.complain(error)
        raise typer.Exit(code_of_error(error)) from error
    except KeyboardInterrupt:
        raise typer.Exit(ExitCode.INTERRUPTED) from None
