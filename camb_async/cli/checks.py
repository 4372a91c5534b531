"""What arguments must be; what is not that is refused as wrong usage."""

from __future__ import annotations

import math
import os
from pathlib import Path

import typer

from camb_async import CambError, TaskKind, TaskRef


def voice_task(text: str) -> TaskRef:
    """Return the task of that id, if it may have previews."""
    try:
        task = TaskRef.parse(text)
    except CambError as error:
        raise typer.BadParameter(str(error), param_hint="--task") from error
    if task.kind is not TaskKind.TEXT_TO_VOICE:
        message = f"only a text-to-voice task has previews: watch {task} instead"
        raise typer.BadParameter(message, param_hint="--task")
    return task


def given(text: str | None, name: str) -> str:
    """Return a text that must not be missing, nor blank."""
    if text is None or not text.strip():
        message = "is needed, unless --task says which task to take up"
        raise typer.BadParameter(message, param_hint=name)
    return text


def make_directory(path: Path) -> None:
    """Have the directory before anything is billed that is to go there."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"cannot be had: {error.strerror}"
        raise typer.BadParameter(message, param_hint="--out") from error
    if not os.access(path, os.W_OK):
        message = "cannot be written to"
        raise typer.BadParameter(message, param_hint="--out")


def positive(value: float, option: str) -> float:
    """Return a number that must be above 0."""
    if not (math.isfinite(value) and value > 0):
        message = f"must be a number above 0, not {value:g}"
        raise typer.BadParameter(message, param_hint=option)
    return value


def deadline_of(text: str) -> float | None:
    """Return the seconds that ``--deadline`` says; None for no limit."""
    if text == "none":
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not seconds >= 0 or math.isinf(seconds):
        message = f"must be seconds of at least 0, or none; not {text!r}"
        raise typer.BadParameter(message, param_hint="--deadline")
    return seconds
