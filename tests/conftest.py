"""What all tests have in common."""

from __future__ import annotations

import pytest
from hypothesis import settings


# Helpers assert, too, and should say as much as tests when that fails.
for helpers in ("helpers", "cli_process", "examples.web_app_client", "doc_blocks"):
    pytest.register_assert_rewrite(f"tests.{helpers}")


# A busy machine is slow now and then, which says nothing about the code.
settings.register_profile("camb_async", deadline=None, print_blob=True)
settings.load_profile("camb_async")
