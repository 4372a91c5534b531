"""What an audio file is called, and whether it is whole, told by its bytes."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType


#: How many bytes of a file must be known to tell what it is.
BEGINNING = 12

EXTENSIONS: Mapping[str, str] = MappingProxyType(
    {
        "audio/wav": ".wav",
        "audio/x-wav": ".wav",
        "audio/wave": ".wav",
        "audio/vnd.wave": ".wav",
        "audio/mpeg": ".mp3",
        "audio/mp3": ".mp3",
        "audio/flac": ".flac",
        "audio/x-flac": ".flac",
        "audio/ogg": ".ogg",
        "audio/mp4": ".m4a",
        "audio/x-m4a": ".m4a",
        "audio/aac": ".aac",
        "audio/webm": ".webm",
    }
)
#: The extension of what is none of these.
UNKNOWN = ".bin"

# Storage services often do not know what they store; the file does.
_UNNAMED = frozenset({"application/octet-stream", "binary/octet-stream", ""})
_BEGINNINGS: tuple[tuple[bytes, str], ...] = (
    (b"RIFF", ".wav"),
    (b"ID3", ".mp3"),
    (b"\xff\xfb", ".mp3"),
    (b"\xff\xf3", ".mp3"),
    (b"fLaC", ".flac"),
    (b"OggS", ".ogg"),
)


def extension(content_type: str, beginning: bytes) -> str:
    """Return the extension for a Content-Type header and a file that begins so."""
    named = content_type.partition(";")[0].strip().lower()
    if named in _UNNAMED:
        found = (ext for start, ext in _BEGINNINGS if beginning.startswith(start))
        return next(found, UNKNOWN)
    return EXTENSIONS.get(named, UNKNOWN)


def tells_its_length(beginning: bytes, length: int) -> bool:
    """Return whether a file says by itself that it is this long, as WAV does."""
    told = int.from_bytes(beginning[4:8], "little") + 8
    return beginning.startswith(b"RIFF") and told == length
