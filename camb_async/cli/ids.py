"""Which tasks are meant: ids from the command line and from stdin."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from camb_async import InvalidTaskIdError, TaskRef


def read_tasks(arguments: Iterable[str], stdin: Iterable[str]) -> list[TaskRef]:
    """Return the tasks, each once, in order. ``-`` stands for those on stdin.

    Raises:
        InvalidTaskIdError: one is no task id; the message says where it stands.
    """
    tasks: dict[TaskRef, None] = {}
    for argument in arguments:
        if argument == "-":
            tasks.update(dict.fromkeys(_from_lines(stdin)))
        else:
            tasks[TaskRef.parse(argument)] = None
    return list(tasks)


def _from_lines(lines: Iterable[str]) -> Iterator[TaskRef]:
    for number, line in enumerate(lines, 1):
        # Some editors begin a file with a byte order mark.
        text = line.removeprefix("\ufeff").partition("#")[0].strip()
        if not text:
            continue
        try:
            yield TaskRef.parse(text)
        except InvalidTaskIdError as error:
            message = f"stdin, line {number}: {error}"
            raise InvalidTaskIdError(message) from error
