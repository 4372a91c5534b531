"""Signed links to previews, and the server of the files behind them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

import attrs

from .answers import Answer
from .audio import voice


_PER_RUN = 2
_RANGE = re.compile(r"bytes=([0-9]*)-([0-9]*)")
_DENIED = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n'
    b"<Error><Code>SignatureDoesNotMatch</Code>"
    b"<Message>The link was altered, or has expired.</Message></Error>"
)


@attrs.define
class PreviewStore:
    """Links whose signature must come back byte by byte, as object stores do it.

    The query holds ``%2B``, ``%2F`` and a plain ``+`` on purpose: whoever
    decodes and encodes a link again alters it, and is refused.
    """

    _secret: str
    _issue: int = 0

    def links(self, origin: str, run_id: int) -> list[str]:
        """Return the absolute links of one run, signed as of now."""
        paths = [f"{run_id}/{number}" for number in range(1, _PER_RUN + 1)]
        return [f"{origin}/previews/{path}.wav?{self._query(path)}" for path in paths]

    def expire(self) -> None:
        """Refuse every link that was given out before."""
        self._issue += 1

    def answer(self, path: str, query: str, headers: Mapping[str, str]) -> Answer:
        """Return the file at ``path`` (run/number), or a refusal."""
        if query != self._query(path):
            return Answer(403, _DENIED, (("Content-Type", "application/xml"),))
        content = voice(path)
        etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
        whole = Answer(
            200,
            content,
            (
                ("Content-Type", "audio/wav"),
                ("ETag", etag),
                ("Accept-Ranges", "bytes"),
            ),
        )
        asked = headers.get("Range")
        if asked is None or headers.get("If-Range", etag) != etag:
            return whole
        return _part(whole, asked)

    def _query(self, path: str) -> str:
        text = f"{self._secret}/{self._issue}/{path}"
        digest = hashlib.sha256(text.encode()).hexdigest()
        signature = f"{digest[:10]}%2B{digest[10:20]}%2F{digest[20:30]}%3D"
        return f"Expires=4102444800&By=simulator+{digest[30:34]}&Signature={signature}"


def _part(whole: Answer, asked: str) -> Answer:
    """Return the range of bytes that was asked for; the whole if it is odd."""
    match = _RANGE.fullmatch(asked)
    if match is None or match[0] == "bytes=-":
        return whole
    size = len(whole.body)
    if match[1]:
        first, last = int(match[1]), min(int(match[2] or size), size - 1)
    else:
        first, last = max(size - int(match[2]), 0), size - 1
    if first > last:
        return Answer(416, b"", (("Content-Range", f"bytes */{size}"),))
    part = attrs.evolve(whole, status=206, body=whole.body[first : last + 1])
    return part.with_headers(("Content-Range", f"bytes {first}-{last}/{size}"))
