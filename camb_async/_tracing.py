"""W3C trace context, for applications that use OpenTelemetry.

The service accepts a ``traceparent`` header. It is sent when the application has
loaded opentelemetry-api and a span is active; nothing is imported for it.
"""

from __future__ import annotations

import sys


def traceparent() -> str | None:
    """Return the header's value for the span that is active; None without one."""
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return None
    span = trace.get_current_span().get_span_context()
    if not span.is_valid:
        return None
    return f"00-{span.trace_id:032x}-{span.span_id:016x}-{span.trace_flags:02x}"
