"""What the page shows: every visitor's voices, and what changed since when.

Nothing here does I/O or reads a clock. Voices go in as they are written down, and
each reader asks for what is new since the last thing it saw, so a slow reader costs
no memory and one that comes back gets exactly what it missed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self

import attrs

from .voice import Voice


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
    """All voices of all visitors, as one process knows them, within limits.

    Args:
        life: differs between any two boards, so that a reader's cursor from
            before a restart, or from another process, is recognised.
        per_visitor: how many voices one visitor may have.
        overall: how many there may be of all visitors together.
    """

    life: str
    per_visitor: int = 20
    overall: int = 500
    _seq: int = attrs.field(default=0, init=False)
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

    def surplus(self, visitor: str) -> list[str]:
        """Return the voices to drop for one more: the oldest that are finished.

        With nothing finished to drop, a paid voice is one more than the limit.
        """
        found: dict[str, None] = {}
        for voices, most in (
            (self._of(visitor), self.per_visitor),
            (self._voices.values(), self.overall),
        ):
            oldest = _oldest_finished(voices)
            if len(voices) >= most and oldest is not None:
                found[oldest.voice_id] = None
        return list(found)

    def versions(self) -> dict[str, int]:
        """Return which version of each voice is shown."""
        return {voice.voice_id: voice.version for voice in self._voices.values()}

    def find(self, visitor: str, voice_id: str) -> Voice | None:
        """Return a visitor's voice; None if there is none, or it is another's."""
        voice = self._voices.get(voice_id)
        return voice if voice is not None and voice.visitor == visitor else None

    def put(self, voice: Voice) -> bool:
        """Show a voice, unless what is shown is newer; return whether that is news."""
        shown = self._voices.get(voice.voice_id)
        if shown is not None and shown.version >= voice.version:
            return False
        self._seq += 1
        voice = attrs.evolve(voice, changed=self._seq)
        shelf = self._shelves.setdefault(voice.visitor, _Shelf(self._shelf_removed_at))
        self._voices[voice.voice_id] = shelf.voices[voice.voice_id] = voice
        return True

    def remove(self, voice_id: str) -> str | None:
        """Take a voice off; return whose it was, None if it was not there."""
        voice = self._voices.pop(voice_id, None)
        if voice is None:
            return None
        self._seq += 1
        shelf = self._shelves[voice.visitor]
        del shelf.voices[voice.voice_id]
        shelf.removed_at = self._seq
        if not shelf.voices:
            # One number for all whose shelf is gone, instead of one for each.
            del self._shelves[voice.visitor]
            self._shelf_removed_at = self._seq
        return voice.visitor

    def running(self, visitor: str) -> list[Voice]:
        """Return a visitor's voices whose tasks are still being watched."""
        return [voice for voice in self._of(visitor) if voice.is_running]

    def all_running(self) -> list[Voice]:
        """Return the voices of all visitors whose tasks are still being watched."""
        return [voice for voice in self._voices.values() if voice.is_running]

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


def _oldest_finished(voices: Iterable[Voice]) -> Voice | None:
    finished = (voice for voice in voices if not voice.is_running)
    return min(finished, key=lambda voice: voice.began, default=None)
