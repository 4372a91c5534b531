"""``demo``: forty voices against the simulator; no key, no network."""

from __future__ import annotations

import attrs
from rich.console import RenderableType

from camb_async import (
    AdaptiveSchedule,
    CambSession,
    RetryPolicy,
    TaskError,
    TaskWatcher,
    WatcherStats,
)
from camb_async.simulator import Simulator

from .board import Board
from .exits import ExitCode
from .live import Showing, choose_showing, follow
from .runner import beside
from .screen import Screen
from .summary import summary


TASKS = 40
#: Seconds at speed 1; the scenario's longest task takes 11.
_HINT, _DEADLINE = 6.0, 30.0

_TEXT = "Good evening. The last train to the coast leaves in ten minutes."
_DESCRIPTIONS = (
    (
        "A warm and unhurried storyteller in her sixties with a soft northern accent, "
        "close to the microphone, smiling between the sentences"
    ),
    (
        "A bright young radio host with quick and clear diction, a light laugh in the "
        "voice and enough energy to wake up a sleepy morning audience"
    ),
    (
        "A deep and gravelly narrator of nature films who leaves long pauses, sounds "
        "as if he were whispering to an animal and never raises his voice"
    ),
)
_LESSONS = (
    "Broken answers delayed a poll; they never cost a task.",
    "All of this was simulated, failures too: there is nothing to pay or to review.",
)
_NEXT = (
    "Next, with your own key in CAMB_API_KEY:",
    '  camb-async voice "DESCRIPTION" --text "TEXT"  make a voice, fetch its previews',
    "  camb-async watch TASK_ID                      follow tasks that are under way",
)


@attrs.frozen(kw_only=True)
class DemoOptions:
    """What to show: ``speed`` is the factor on time."""

    seed: int
    speed: float
    as_json: bool


async def run_demo(options: DemoOptions, screen: Screen) -> int:
    """Play the demo, sum it up, and return the exit code."""
    showing = choose_showing(screen, as_json=options.as_json, keep_table=True)
    board, stats = await play_demo(options, showing)
    screen.err.print(demo_summary(board, stats), soft_wrap=True)
    return _verdict(board)


async def play_demo(
    options: DemoOptions, showing: Showing
) -> tuple[Board, WatcherStats]:
    """Create forty tasks, watch them all, and return what became of them."""
    speed = options.speed
    schedule = AdaptiveSchedule(
        min_interval=0.4 / speed,
        max_interval=1.5 / speed,
        hint=_HINT / speed,
        seed=options.seed,
    )
    deadline = _DEADLINE / speed
    board = Board([], TASKS)
    async with (
        Simulator("demo", seed=options.seed, speed=speed) as simulator,
        _session(simulator, speed) as camb,
        camb.watch(schedule=schedule, deadline=deadline, keep_open=True) as watcher,
        beside(_create(camb, watcher, board)),
    ):
        await follow(watcher, board, showing)
        return board, watcher.stats()


def demo_summary(board: Board, stats: WatcherStats) -> RenderableType:
    """Return the last words of the demo."""
    return summary(board, stats, *_LESSONS, "", *_NEXT)


def _session(simulator: Simulator, speed: float) -> CambSession:
    retry = RetryPolicy(backoff_initial=0.5 / speed, backoff_max=2.0 / speed)
    return CambSession(simulator.api_key, base_url=simulator.base_url, retry=retry)


async def _create(camb: CambSession, watcher: TaskWatcher, board: Board) -> None:
    try:
        for number in range(TASKS):
            task = await camb.create_text_to_voice(
                text=_TEXT, voice_description=_DESCRIPTIONS[number % len(_DESCRIPTIONS)]
            )
            board.tasks.append(task)
            watcher.add(task)
    finally:
        watcher.close()


def _verdict(board: Board) -> ExitCode:
    """Tasks that fail are part of the show; anything else that goes wrong is not."""
    others = [
        transition
        for transition in board.ended.values()
        if transition.error is not None and not isinstance(transition.error, TaskError)
    ]
    went_well = len(board.ended) == TASKS and not others
    return ExitCode.SUCCESS if went_well else (board.exit_code or ExitCode.FAILED)
