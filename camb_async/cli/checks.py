"""What arguments must be; what is not that is refused as wrong usage."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import typer

from camb_async import CambError, StoreError, TaskKind, TaskRef, store_at


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


def store_place(text: str) -> str:
    """Return what ``--store`` says, if it is a path, or the DSN of a server."""
    try:
        store_at(text)
    except StoreError as error:
        raise typer.BadParameter(str(error), param_hint="--store") from None
    return text


def context_of(text: str | None) -> Any:
    """Return the value that ``--context`` says; None if it was not given."""
    if text is None:
        return None
    try:
        value = json.loads(text)
        # Python reads more than JSON: NaN, and numbers beyond all bounds.
        json.dumps(value, allow_nan=False)
    except (ValueError, RecursionError) as error:
        message = f"must be JSON, such as '{{\"chat\": 11}}': {error}"
        raise typer.BadParameter(message, param_hint="--context") from error
    return value
