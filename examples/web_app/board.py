"""What the page shows: every visitor's voices, and what changed since when.

Nothing here does I/O or reads a clock. Transitions go in, and each reader asks
for what is new since the last thing it saw, so a slow reader costs no memory and
one that comes back gets exactly what it missed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self

import attrs

from camb_async import TaskRef, Transition


@attrs.frozen(kw_only=True)
class Voice:
    """One ordered voice, as it stands.

    Attributes:
        voice_id: what the page calls it.
        visitor: whose it is.
        task: the task that makes it.
        description: what was asked for.
        text: what the previews say.
        number: 1, 2, 3 and so on, in the order in which they were ordered.
        began: when it was ordered (seconds of any steady clock).
        changed: the board's sequence number of its latest change.
        latest: its latest transition; None before the first.
        ended: when its final transition came.
        previews: how many previews there are; None until that is known.
        previews_failed: whether finding them out failed.
    """

    voice_id: str
    visitor: str = attrs.field(repr=False)
    task: TaskRef
    description: str
    text: str
    number: int
    began: float
    changed: int
    latest: Transition | None = None
    ended: float | None = None
    previews: int | None = None
    previews_failed: bool = False

    @property
    def is_running(self) -> bool:
        """Whether its task is still being watched."""
        return self.latest is None or not self.latest.is_final


@attrs.frozen
class Cursor:
    """How far a reader has read: which life of the board, up to which change."""

    life: str
    seq: int

    def __str__(self) -> str:
        """Return the form that ``parse`` reads; it is the id of an event."""
        return f"{self.life}-{self.seq}"

    @classmethod
    def parse(cls, text: str | None) -> Self | None:
        """Read a cursor that a browser sent back; None if it is not one."""
        life, dash, seq = (text or "").rpartition("-")
        if not (dash and seq.isascii() and seq.isdigit() and len(seq) < 20):  # noqa: PLR2004
            return None
        return cls(life, int(seq))


@attrs.frozen
class Update:
    """What a reader is to be told: the voices that changed, the earliest first.

    ``whole`` says that these are all there are: forget any other.
    """

    whole: bool
    voices: tuple[Voice, ...]
    cursor: Cursor


@attrs.define
class _Shelf:
    """The voices of one visitor, and when one was last taken off."""

    removed_at: int
    voices: dict[str, Voice] = attrs.field(factory=dict[str, Voice])


@attrs.define
class Board:
    """All voices of all visitors, in memory, within limits.

    When there are too many, the oldest finished ones are dropped.

    Args:
        life: differs between any two boards, so that a reader's cursor from
            before a restart is recognised.
        per_visitor: how many voices one visitor may have.
        overall: how many there may be of all visitors together.
    """

    life: str
    per_visitor: int = 20
    overall: int = 500
    _seq: int = attrs.field(default=0, init=False)
    _count: int = attrs.field(default=0, init=False)
    _voices: dict[str, Voice] = attrs.field(factory=dict[str, Voice], init=False)
    _shelves: dict[str, _Shelf] = attrs.field(factory=dict[str, _Shelf], init=False)
    _shelf_removed_at: int = attrs.field(default=0, init=False)

    def __len__(self) -> int:
        return len(self._voices)

    def has_room(self, visitor: str) -> bool:
        """Whether one more voice of this visitor fits, if need be by dropping one."""
        own = self._of(visitor)
        return (len(own) < self.per_visitor or _oldest_finished(own) is not None) and (
            len(self) < self.overall
            or _oldest_finished(self._voices.values()) is not None
        )

    def add(
        self,
        visitor: str,
        voice_id: str,
        task: TaskRef,
        *,
        description: str,
        text: str,
        now: float,
    ) -> tuple[Voice, frozenset[str]]:
        """Put a voice on the board. It is never refused: ask ``has_room`` before.

        Returns:
            The voice, and the visitors who have news by that: its own, and any
            who lost one to make room.
        """
        touched = {visitor} | self._make_room(visitor)
        self._count += 1
        voice = Voice(
            voice_id=voice_id,
            visitor=visitor,
            task=task,
            description=description,
            text=text,
            number=self._count,
            began=now,
            changed=0,
        )
        return self._put(voice), frozenset(touched)

    def find(self, visitor: str, voice_id: str) -> Voice | None:
        """Return a visitor's voice; None if there is none, or it is another's."""
        voice = self._voices.get(voice_id)
        return voice if voice is not None and voice.visitor == visitor else None

    def apply(self, transition: Transition, now: float) -> Voice | None:
        """Take note of a transition whose context is the voice's id.

        Returns:
            The voice as it is now; None if it is not on the board any more.
        """
        voice = self._voices.get(transition.context)
        if voice is None:
            return None
        ended = now if transition.is_final else None
        return self._put(attrs.evolve(voice, latest=transition, ended=ended))

    def resume(self, voice: Voice) -> Voice:
        """Take note that a voice is watched again."""
        return self._put(attrs.evolve(voice, latest=None, ended=None))

    def set_previews(self, voice_id: str, count: int | None) -> Voice | None:
        """Take note of how many previews there are, or None if that failed.

        Returns:
            The voice as it is now; None if it is not on the board any more.
        """
        voice = self._voices.get(voice_id)
        if voice is None:
            return None
        return self._put(
            attrs.evolve(voice, previews=count, previews_failed=count is None)
        )

    def running(self, visitor: str) -> list[Voice]:
        """Return a visitor's voices whose tasks are still being watched."""
        return [voice for voice in self._of(visitor) if voice.is_running]

    def since(self, visitor: str, cursor: Cursor | None) -> Update:
        """Return what a reader missed that has seen everything up to ``cursor``.

        It is the whole if the cursor is None, of another life, or from before
        something was dropped.
        """
        now = Cursor(self.life, self._seq)
        shelf = self._shelves.get(visitor)
        removed_at = self._shelf_removed_at if shelf is None else shelf.removed_at
        voices = sorted(self._of(visitor), key=lambda voice: voice.changed)
        known = cursor is not None and cursor.life == self.life
        if cursor is None or not known or not removed_at <= cursor.seq <= self._seq:
            return Update(whole=True, voices=tuple(voices), cursor=now)
        missed = (voice for voice in voices if voice.changed > cursor.seq)
        return Update(whole=False, voices=tuple(missed), cursor=now)

    def _of(self, visitor: str) -> tuple[Voice, ...]:
        shelf = self._shelves.get(visitor)
        return () if shelf is None else tuple(shelf.voices.values())

    def _put(self, voice: Voice) -> Voice:
        self._seq += 1
        voice = attrs.evolve(voice, changed=self._seq)
        shelf = self._shelves.setdefault(voice.visitor, _Shelf(self._shelf_removed_at))
        self._voices[voice.voice_id] = shelf.voices[voice.voice_id] = voice
        return voice

    def _make_room(self, visitor: str) -> set[str]:
        touched: set[str] = set()
        own = self._of(visitor)
        if len(own) >= self.per_visitor:
            touched |= self._drop(_oldest_finished(own))
        if len(self) >= self.overall:
            touched |= self._drop(_oldest_finished(self._voices.values()))
        return touched

    def _drop(self, voice: Voice | None) -> set[str]:
        if voice is None:
            return set()
        self._seq += 1
        del self._voices[voice.voice_id]
        shelf = self._shelves[voice.visitor]
        del shelf.voices[voice.voice_id]
        shelf.removed_at = self._seq
        if not shelf.voices:
            # One number for all whose shelf is gone, instead of one for each.
            del self._shelves[voice.visitor]
            self._shelf_removed_at = self._seq
        return {voice.visitor}


def _oldest_finished(voices: Iterable[Voice]) -> Voice | None:
    finished = (voice for voice in voices if not voice.is_running)
    return min(finished, key=lambda voice: voice.number, default=None)
