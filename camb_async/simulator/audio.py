"""Short sounds that stand in for previews: a synthetic voice saying nothing."""

from __future__ import annotations

import io
import math
import sys
import wave
from array import array
from functools import lru_cache
from random import Random


RATE = 16_000  # samples a second
_TABLE = 256  # samples of one period

# The first three resonances (Hz) of the vowels a, e, i, o, u.
_VOWELS = (
    (730.0, 1090.0, 2440.0),
    (530.0, 1840.0, 2480.0),
    (270.0, 2290.0, 3010.0),
    (570.0, 840.0, 2410.0),
    (300.0, 870.0, 2240.0),
)


@lru_cache(maxsize=64)
def voice(name: str, seconds: float = 1.0) -> bytes:
    """Return a WAV file of that many seconds: 16 kHz, mono, 16 bit.

    The same name always sounds the same, another name sounds different.
    """
    random = Random(name)
    pitch = random.uniform(90.0, 240.0)
    vowels = [_period(pitch, random.choice(_VOWELS)) for _ in range(4)]
    samples = _sing(pitch, vowels, int(seconds * RATE))
    if sys.byteorder == "big":
        samples.byteswap()
    file = io.BytesIO()
    with wave.open(file, "wb") as wav:
        wav.setnchannels(1)
        wav.setsampwidth(samples.itemsize)
        wav.setframerate(RATE)
        wav.writeframes(samples.tobytes())
    return file.getvalue()


def _period(pitch: float, formants: tuple[float, ...]) -> list[float]:
    """Return one period of a buzz of this pitch (Hz), shaped by resonances."""
    table = [0.0] * _TABLE
    for harmonic in range(1, int(4000 / pitch) + 1):
        loudness = sum(
            1 / (1 + ((harmonic * pitch - formant) / 90) ** 2) for formant in formants
        ) / math.sqrt(harmonic)
        for index in range(_TABLE):
            angle = 2 * math.pi * harmonic * index / _TABLE
            table[index] += loudness * math.sin(angle)
    peak = max(abs(sample) for sample in table)
    return [sample / peak for sample in table]


def _sing(pitch: float, vowels: list[list[float]], count: int) -> array[int]:
    """Return samples that glide through the vowels, with some vibrato."""
    samples = array("h")
    phase = 0.0
    for index in range(count):
        place = index / count * (len(vowels) - 1)
        left = int(place)
        share = place - left
        vibrato = 1 + 0.015 * math.sin(index * 2 * math.pi * 5 / RATE)
        phase = (phase + pitch * vibrato * _TABLE / RATE) % _TABLE
        spot = int(phase)
        sample = (1 - share) * vowels[left][spot] + share * vowels[left + 1][spot]
        fade = min(index, count - index, 800) / 800
        samples.append(int(20_000 * fade * sample))
    return samples
