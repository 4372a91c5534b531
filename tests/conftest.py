"""What all tests have in common."""

from __future__ import annotations

from hypothesis import settings


# A busy machine is slow now and then, which says nothing about the code.
settings.register_profile("camb_async", deadline=None, print_blob=True)
settings.load_profile("camb_async")
