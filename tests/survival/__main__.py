"""Run all probes and write their tables into the docs: under a minute."""

from __future__ import annotations

import asyncio

from .table import PAGE, page_part, renewed


PAGE.write_text(renewed(PAGE.read_text(), asyncio.run(page_part())))
