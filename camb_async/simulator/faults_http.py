"""Faults that are whole HTTP answers of the wrong status."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .answers import HTML, JSON, TEXT, Answer, Call


_NGINX = (
    "<html>\r\n<head><title>{0}</title></head>\r\n<body>\r\n"
    "<center><h1>{0}</h1></center>\r\n<hr><center>nginx/1.24.0</center>\r\n"
    "</body>\r\n</html>\r\n"
)


def _nginx(status: int, title: str) -> Answer:
    return Answer(status, _NGINX.format(f"{status} {title}").encode(), HTML)


def http(
    _call: Call,
    *,
    status: int = 500,
    body: object = "",
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """Any status with any body: text, bytes, or what is sent as JSON."""
    more = tuple((headers or {}).items())
    if isinstance(body, bytes):
        return Answer(status, body, more)
    if isinstance(body, str):
        return Answer(status, body.encode(), (*TEXT, *more))
    return Answer(status, json.dumps(body).encode(), (*JSON, *more))


def internal_error(_call: Call) -> Answer:
    """500 with a JSON detail, as FastAPI answers."""
    return Answer.detail(500, "Internal Server Error")


def internal_error_html(_call: Call) -> Answer:
    """500 with an HTML page."""
    return _nginx(500, "Internal Server Error")


def bad_gateway_html(_call: Call) -> Answer:
    """502 with an HTML page, as a proxy answers."""
    return _nginx(502, "Bad Gateway")


def unavailable(_call: Call) -> Answer:
    """503 with a JSON detail and no Retry-After."""
    return Answer.detail(503, "Service Unavailable")


def unavailable_retry_after(_call: Call, *, retry_after: str = "1") -> Answer:
    """503 with a Retry-After of one second."""
    return unavailable(_call).with_headers(("Retry-After", retry_after))


def gateway_timeout_html(_call: Call) -> Answer:
    """504 with an HTML page, as a proxy answers."""
    return _nginx(504, "Gateway Time-out")


def rate_limited(
    _call: Call, *, retry_after: str = "1", headers: Mapping[str, str] | None = None
) -> Answer:
    """429 with a Retry-After of one second, whatever the speed."""
    answer = rate_limited_no_header(_call)
    more = (headers or {}).items()
    return answer.with_headers(("Retry-After", retry_after), *more)


def rate_limited_no_header(_call: Call) -> Answer:
    """429 without a Retry-After."""
    return Answer.detail(429, "Too Many Requests")


def request_timeout(_call: Call) -> Answer:
    """408 with a JSON detail."""
    return Answer.detail(408, "Request Timeout")


def bad_request(_call: Call) -> Answer:
    """400 with a JSON detail."""
    return Answer.detail(400, "Bad Request")


def unauthorized(_call: Call) -> Answer:
    """401 in the words of the service, as for a key that is not known."""
    return Answer.json(401, {"error": "Invalid API key", "status": 401})


def payment_required(_call: Call) -> Answer:
    """402 with a JSON detail."""
    return Answer.detail(402, "Payment Required")


def forbidden(_call: Call) -> Answer:
    """403 with a JSON detail."""
    return Answer.detail(403, "Forbidden")


def not_found(_call: Call) -> Answer:
    """404 as for a task that is not known."""
    return Answer.detail(404, "Not found.")


def unprocessable(_call: Call) -> Answer:
    """422 with one validation error."""
    issue: dict[str, Any] = {
        "loc": ["path", "task_id"],
        "msg": "Input should be a valid UUID",
        "type": "uuid_parsing",
    }
    return Answer.detail(422, [issue])


def redirect(call: Call, *, location: str | None = None, status: int = 302) -> Answer:
    """302 to the same path on another host, or to ``location``."""
    target = f"http://elsewhere.invalid{call.path}" if location is None else location
    return Answer(status, b"", (("Location", target),))


def no_content(_call: Call) -> Answer:
    """204: success, and no body at all."""
    return Answer(204, b"", ())


def html_200(_call: Call) -> Answer:
    """200 with an HTML page, as a captive portal answers."""
    page = "<!DOCTYPE html><html><body><h1>Welcome to the hotel WiFi</h1></body></html>"
    return Answer(200, page.encode(), HTML)
