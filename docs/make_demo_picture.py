"""Draw docs/demo.svg: a real run of the demo, half-way and at its end.

Run it at the top of the repository: ``python docs/make_demo_picture.py``.
"""

from __future__ import annotations

import asyncio
import io
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from camb_async import TaskWatcher, Transition
from camb_async.cli.board import Board
from camb_async.cli.demo import DemoOptions, demo_summary, play_demo
from camb_async.cli.live import Show
from camb_async.cli.render import Frame


WIDTH = 100
ROWS = 18
#: The table is drawn when so many tasks have ended.
ENDED = 31

_THEME = TerminalTheme(
    (24, 26, 31),
    (205, 209, 216),
    [
        (40, 44, 52),
        (224, 122, 122),
        (143, 190, 130),
        (222, 184, 110),
        (110, 160, 220),
        (196, 150, 210),
        (108, 182, 190),
        (205, 209, 216),
    ],
)


def main() -> None:
    """Run the demo and write what it showed."""
    console = Console(
        record=True,
        width=WIDTH,
        file=io.StringIO(),
        force_terminal=True,
        color_system="standard",
        highlight=False,
    )

    @asynccontextmanager
    async def snapshot(
        watcher: TaskWatcher, board: Board
    ) -> AsyncGenerator[Show, None]:
        def show(_transition: Transition) -> None:
            if len(board.ended) == ENDED and not drawn:
                drawn.append(True)
                console.print(Frame.of(watcher, board).within(ROWS, WIDTH))

        drawn: list[bool] = []
        yield show

    console.print(Text("$ camb-async demo\n", style="bold"))
    options = DemoOptions(seed=2, speed=1.0, as_json=False)
    board, stats = asyncio.run(play_demo(options, snapshot))
    console.print(demo_summary(board, stats))
    svg = console.export_svg(title="camb-async demo", theme=_THEME)
    # The picture loads nothing: the fonts that it names are fetched from nowhere.
    svg = re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL)
    (Path(__file__).parent / "demo.svg").write_text(svg)


if __name__ == "__main__":
    main()
