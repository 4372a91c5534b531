"""One ordered voice: what is written down of it, and what the page gets."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Self

import attrs
from cattrs.preconf.json import make_converter

from camb_async import TaskRef, Transition

from .outcomes import SENT, Outcome, outcome_of, status_of


@attrs.frozen(kw_only=True)
class Voice:
    """One ordered voice, as it stands. Times are seconds of the clock on the wall.

    Attributes:
        voice_id: what the page calls it.
        visitor: whose it is.
        task: the task that makes it.
        description: what was asked for.
        text: what the previews say.
        began: when it was ordered.
        outcome: how it stands, in words.
        status: the same in the service's word.
        succeeded: whether it is made.
        run_id: where it is then.
        ended: when its end was noticed; None while its task is being watched.
        previews: how many previews there are; None until that is known.
        previews_failed: whether finding them out failed.
        heard: the number of the latest transition of each watch that it had.
        version: how often it was written down.
        changed: the board's sequence number of its latest change.
    """

    voice_id: str
    visitor: str = attrs.field(repr=False)
    task: TaskRef
    description: str
    text: str
    began: float = attrs.field(factory=time.time)
    outcome: Outcome = SENT
    status: str = ""
    succeeded: bool = False
    run_id: int | None = None
    ended: float | None = None
    previews: int | None = None
    previews_failed: bool = False
    heard: Mapping[str, int] = attrs.field(factory=dict[str, int])
    version: int = 1
    changed: int = 0

    @property
    def is_running(self) -> bool:
        """Whether its task is still being watched."""
        return self.ended is None

    @property
    def lacks_previews(self) -> bool:
        """Whether nobody has asked yet how many previews there are."""
        made = self.succeeded and self.run_id is not None
        return made and self.previews is None and not self.previews_failed

    def after(self, transition: Transition) -> Self | None:
        """Return the voice as a transition leaves it; None if it was heard before.

        A store may deliver twice, and two readers may overtake one another.
        """
        watch, number = transition.key or ("", 0)
        if self.heard.get(watch, 0) >= number:
            return None
        return attrs.evolve(
            self,
            outcome=outcome_of(transition),
            status=status_of(transition),
            succeeded=transition.succeeded,
            run_id=transition.run_id,
            ended=transition.at.timestamp() if transition.is_final else None,
            heard={**self.heard, watch: number},
        )

    def resumed(self) -> Self:
        """Return the voice as it is when its task is watched again."""
        return attrs.evolve(self, outcome=SENT, status="", ended=None)

    def with_previews(self, count: int | None) -> Self:
        """Return the voice with so many previews; None if finding out failed."""
        return attrs.evolve(self, previews=count, previews_failed=count is None)

    def dump(self) -> str:
        """Return the form that ``load`` reads."""
        return _converter.dumps(self)

    @classmethod
    def load(cls, text: str, version: int) -> Self:
        """Return the voice that was written down, so many times."""
        return attrs.evolve(_converter.loads(text, cls), version=version)


def card(voice: Voice, now: float) -> dict[str, Any]:
    """Return a voice as the page gets it: values for JSON, nothing is markup."""
    outcome = voice.outcome
    return {
        "id": voice.voice_id,
        "began": voice.began,
        "version": voice.version,
        "task_id": voice.task.task_id,
        "description": voice.description,
        "text": voice.text,
        "running": voice.is_running,
        "seconds": round((voice.ended or now) - voice.began, 1),
        "tone": outcome.tone,
        "icon": outcome.guidance.icon,
        "action": outcome.guidance.action,
        "title": outcome.title,
        "advice": outcome.advice,
        "said": outcome.said,
        "can_resume": outcome.can_resume,
        "status": voice.status,
        "succeeded": voice.succeeded,
        "previews": voice.previews,
        "previews_failed": voice.previews_failed,
    }


_converter = make_converter()
