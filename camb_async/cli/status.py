"""``status``: read one task's status once."""

from __future__ import annotations

from camb_async import CambSession, TaskRef

from .exits import code_of_state
from .output import state_json, state_line
from .screen import Screen


async def show_status(task: TaskRef, screen: Screen, *, as_json: bool) -> int:
    """Write one status to stdout and the recommended action to stderr.

    Raises:
        CambError: it could not be read.
    """
    async with CambSession() as camb:
        state = await camb.get_task_status(task)
    screen.write((state_json if as_json else state_line)(task, state))
    guidance = state.status.guidance
    screen.tell(f"{guidance.icon} recommended action: {guidance.action}")
    return code_of_state(state)
