"""Where output goes: data to stdout, talk to stderr."""

from __future__ import annotations

import os
import sys
from io import TextIOWrapper
from typing import Self

import attrs
from rich.console import Console


@attrs.frozen
class Screen:
    """The two streams, and whether a person watches the first.

    ``live`` is decided by the stream alone: a setting that forces colours must
    not put a moving table into a pipe.
    """

    out: Console
    err: Console
    live: bool

    @classmethod
    def of_process(cls, *, color: bool = True) -> Self:
        """Return the screen of this process. NO_COLOR is honoured by rich."""
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        no_color = None if color else True
        return cls(
            out=Console(no_color=no_color, highlight=False),
            err=Console(no_color=no_color, highlight=False, stderr=True),
            live=sys.stdout.isatty() and os.environ.get("TERM") != "dumb",
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
        notes = getattr(error, "__notes__", ())
        text = " ".join(str(part) for part in (error, *notes))
        self.tell(f"camb-async: {printable(text)}")


def printable(text: object) -> str:
    """Return a text in one line that a terminal takes as nothing but text."""
    return "".join(
        character if character.isprintable() else _escaped(character)
        for character in str(text)
    )


def _escaped(character: str) -> str:
    return " " if character in "\n\t" else repr(character)[1:-1]
