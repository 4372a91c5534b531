"""Where output goes: data to stdout, talk to stderr."""

from __future__ import annotations

import os
import sys
from io import TextIOWrapper
from pathlib import Path
from typing import Self, TextIO

import attrs
from rich.console import Console
from rich.text import Text


@attrs.frozen
class Screen:
    """The two streams, and whether a person watches them.

    ``live`` (stdout) and ``err_live`` (stderr) are decided by the streams alone:
    a setting that forces colours must not put a moving table into a pipe.
    """

    out: Console
    err: Console
    live: bool
    err_live: bool

    @classmethod
    def of_process(cls, *, color: bool = True) -> Self:
        """Return the screen of this process. NO_COLOR is honoured by rich."""
        # A process may be started without them, which is as good as nowhere.
        sys.stdout = sys.stdout or _nowhere()
        sys.stderr = sys.stderr or _nowhere()
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        no_color = None if color else True
        can_move = os.environ.get("TERM") != "dumb"
        return cls(
            out=Console(no_color=no_color, highlight=False),
            err=Console(no_color=no_color, highlight=False, stderr=True),
            live=sys.stdout.isatty() and can_move,
            err_live=sys.stderr.isatty() and can_move,
        )

    def write(self, line: str) -> None:
        """Write one line of data, at once."""
        self.out.file.write(line + "\n")
        self.out.file.flush()

    def tell(self, line: str) -> None:
        """Write one line of talk, at once."""
        self.err.file.write(line + "\n")
        self.err.file.flush()

    def complain(self, error: object) -> None:
        """Say what went wrong, in one line of talk."""
        self.tell(_complaint(error))

    def complain_above(self, error: object) -> None:
        """Say what went wrong while a table may move: above it, if it is beside it."""
        if self.live and self.err_live:
            self.out.print(Text(_complaint(error)), soft_wrap=True)
        else:
            self.complain(error)


def _nowhere() -> TextIO:
    return Path(os.devnull).open("w", encoding="utf-8")


def counted(number: int, noun: str) -> str:
    """Return a number of things, as in "1 poll" and "2,000 polls"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _complaint(error: object) -> str:
    return f"camb-async: {printable(with_notes(error))}"


def with_notes(error: object) -> str:
    """Return what an error says, with the notes that were added to it."""
    notes = getattr(error, "__notes__", ())
    return " ".join(str(part) for part in (error, *notes))


def printable(text: object) -> str:
    """Return a text in one line that a terminal takes as nothing but text."""
    return "".join(
        character if character.isprintable() else _escaped(character)
        for character in str(text)
    )


def _escaped(character: str) -> str:
    return " " if character in "\n\t" else repr(character)[1:-1]
