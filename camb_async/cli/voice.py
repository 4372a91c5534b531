"""``voice``: describe a voice, wait for it, and fetch its previews."""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import time
import warnings
from collections.abc import Generator
from pathlib import Path

import attrs
from rich.text import Text

from camb_async import (
    CambError,
    CambSession,
    DeadlineExceededError,
    DownloadProgress,
    InvalidResponseError,
    TaskError,
    TaskRef,
    TaskState,
    TaskWatcher,
)

from .exits import ExitCode, code_of_error
from .memory import remembering
from .output import dump, error_fields, rounded
from .render import moving_line
from .screen import Screen, printable, with_notes
from .talk import Talk, choose_talk


@attrs.frozen(kw_only=True)
class Wish:
    """The voice that is to be made, and what its previews say."""

    description: str
    text: str
    project_name: str | None


@attrs.frozen(kw_only=True)
class VoiceOptions:
    """How to go about it.

    Attributes:
        directory: where the previews go.
        deadline: seconds to wait for the task; None for no limit.
        memory: whether to keep what is learnt; None unless on this machine.
        as_json: whether to write JSON.
    """

    directory: Path
    deadline: float | None
    memory: bool | None
    as_json: bool


@attrs.define
class Voice:
    """What has become of the voice so far."""

    task: TaskRef | None
    state: TaskState | None = None
    _files: dict[int, Path] = attrs.field(factory=dict[int, Path], init=False)
    _began: float = attrs.field(factory=time.monotonic, init=False)

    @property
    def files(self) -> list[Path]:
        """The previews that are on the disk, in their order."""
        return [self._files[index] for index in sorted(self._files)]

    def take(self, progress: DownloadProgress) -> None:
        """Take note of a file that is complete."""
        if progress.path is not None:
            self._files[progress.index] = progress.path

    def as_json(self, error: dict[str, str] | None) -> str:
        """Return all that is known as one JSON object in one line."""
        return dump(
            {
                "task_id": None if self.task is None else self.task.task_id,
                "run_id": None if self.state is None else self.state.run_id,
                "status": None if self.state is None else self.state.status,
                "elapsed": rounded(time.monotonic() - self._began),
                "files": [str(path) for path in self.files],
                "error": error,
            }
        )


async def make_voice(
    asked: Wish | TaskRef, options: VoiceOptions, screen: Screen
) -> int:
    """Make a voice, or take up a task, fetch the previews; return the exit code."""
    voice = Voice(asked if isinstance(asked, TaskRef) else None)
    talk = choose_talk(screen)
    try:
        async with CambSession() as camb:
            if isinstance(asked, Wish):
                asked = await _submit(camb, asked, voice, talk)
            with remembering(camb.base_url, screen, wanted=options.memory) as schedule:
                watcher = camb.watch(
                    [asked], schedule=schedule, deadline=options.deadline
                )
                await _wait(watcher, voice, talk)
            await _fetch(camb, voice, options.directory, talk)
    except asyncio.CancelledError:
        words = _interrupted(voice)
        _write(voice, options, screen, error_fields("Interrupted", words))
        screen.complain(words)
        _say_how_to_go_on(voice, options.directory, None, screen)
        raise
    except CambError as error:
        words = _explained(error)
        _write(voice, options, screen, error_fields(type(error).__name__, words))
        screen.complain(words)
        _say_how_to_go_on(voice, options.directory, error, screen)
        return code_of_error(error)
    _write(voice, options, screen, None)
    return ExitCode.SUCCESS


async def _submit(camb: CambSession, wish: Wish, voice: Voice, talk: Talk) -> TaskRef:
    with _calm_warnings(talk):
        async with talk.working(lambda: Text("creating the task")):
            voice.task = task = await camb.create_text_to_voice(
                text=wish.text,
                voice_description=wish.description,
                project_name=wish.project_name,
            )
    talk.say(f"created task {task}")
    return task


@contextlib.contextmanager
def _calm_warnings(talk: Talk) -> Generator[None]:
    """Tell a warning of the library as a line: no code of the user's is to blame."""

    def show(message: Warning | str, *_: object, **__: object) -> None:
        talk.say(f"note: {printable(message)}")

    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = show
        yield


async def _wait(watcher: TaskWatcher, voice: Voice, talk: Talk) -> None:
    async with watcher, talk.working(lambda: _standing(watcher)):
        async for transition in watcher:
            voice.state = transition.state
            transition.raise_for_status()
            talk.changed(transition)


def _standing(watcher: TaskWatcher) -> Text:
    return Text().join(
        moving_line(watched, watcher.eta(watched.task)) for watched in watcher.watched()
    )


async def _fetch(camb: CambSession, voice: Voice, directory: Path, talk: Talk) -> None:
    if voice.state is None or voice.state.run_id is None:
        message = (
            "The task succeeded, but its status names no run to fetch previews of."
        )
        raise InvalidResponseError(message)
    run_id = voice.state.run_id
    talk.say(f"fetching the previews of run {run_id}")
    async with talk.fetching() as show:

        def on_progress(progress: DownloadProgress) -> None:
            voice.take(progress)
            show(progress)

        await camb.download_previews(run_id, directory, on_progress=on_progress)


def _write(
    voice: Voice,
    options: VoiceOptions,
    screen: Screen,
    error: dict[str, str] | None,
) -> None:
    lines = [str(path) for path in voice.files]
    for line in [voice.as_json(error)] if options.as_json else lines:
        screen.write(line)


def _explained(error: CambError) -> str:
    """Return what went wrong, in terms of the command line."""
    taken = error.__cause__
    if isinstance(taken, FileExistsError):
        return f"{taken.filename} is there already and was not touched"
    return with_notes(error)


def _interrupted(voice: Voice) -> str:
    if voice.state is not None and voice.state.is_final:
        return f"interrupted; previews saved: {len(voice.files)}"
    if voice.task is not None:
        return "interrupted; the task goes on remotely"
    return (
        "interrupted while the create call was under way: the task may exist, so "
        "look in the studio before you ask again"
    )


def _say_how_to_go_on(
    voice: Voice, directory: Path, error: CambError | None, screen: Screen
) -> None:
    """Tell the command that takes up the task, if it may still give a voice."""
    over = isinstance(error, TaskError) or code_of_error(error) is ExitCode.FAILED
    if voice.task is None or over:
        return
    in_the_way = voice.files or (error and isinstance(error.__cause__, FileExistsError))
    if in_the_way and voice.state is not None:
        directory /= f"run-{voice.state.run_id}"
    command = ["camb-async", "voice", "--task", voice.task.task_id]
    if directory != Path():
        command += ["--out", str(directory)]
    why = "To wait longer" if isinstance(error, DeadlineExceededError) else "To resume"
    screen.tell(f"{why}: {shlex.join(command)}")
