"""Everything that can go wrong on the wire, by name, in one table."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import attrs

from . import faults_body, faults_http, faults_wire
from .answers import Call, FaultFunction, Reply


# What a fault does is the docstring of its function; a function's keyword
# arguments are the options of the fault.
FAULTS: Mapping[str, FaultFunction] = MappingProxyType(
    {
        # the connection
        "reset": faults_wire.reset,
        "post_lost": faults_wire.post_lost,
        "disconnect": faults_wire.disconnect,
        "reset_mid_body": faults_wire.reset_mid_body,
        "truncate_content_length": faults_wire.truncate_content_length,
        "truncate_chunked": faults_wire.truncate_chunked,
        "truncate_close": faults_wire.truncate_close,
        "garbage": faults_wire.garbage,
        "many_headers": faults_wire.many_headers,
        "endless_headers": faults_wire.endless_headers,
        "endless_body": faults_wire.endless_body,
        "many_continues": faults_wire.many_continues,
        "endless_continues": faults_wire.endless_continues,
        "slow": faults_body.slow,
        "hang": faults_wire.hang,
        "drip": faults_wire.drip,
        "idle_close": faults_wire.idle_close,
        "stale": faults_wire.stale,
        # the HTTP status
        "http": faults_http.http,
        "500": faults_http.internal_error,
        "500_html": faults_http.internal_error_html,
        "502_html": faults_http.bad_gateway_html,
        "503": faults_http.unavailable,
        "503_retry_after": faults_http.unavailable_retry_after,
        "504_html": faults_http.gateway_timeout_html,
        "429": faults_http.rate_limited,
        "429_no_header": faults_http.rate_limited_no_header,
        "408": faults_http.request_timeout,
        "400": faults_http.bad_request,
        "401": faults_http.unauthorized,
        "402": faults_http.payment_required,
        "403": faults_http.forbidden,
        "404": faults_http.not_found,
        "422": faults_http.unprocessable,
        "redirect": faults_http.redirect,
        "204": faults_http.no_content,
        "html_200": faults_http.html_200,
        # the body
        "wrong_type": faults_body.wrong_type,
        "bad_json": faults_body.bad_json,
        "bad_utf8": faults_body.bad_utf8,
        "deep_json": faults_body.deep_json,
        "huge_int": faults_body.huge_int,
        "nan": faults_body.nan,
        "dup_keys": faults_body.dup_keys,
        "empty_object": faults_body.empty_object,
        "huge_body": faults_body.huge_body,
        "gzip_bomb": faults_body.gzip_bomb,
        "not_gzip": faults_body.not_gzip,
        "zstd": faults_body.zstd,
        "set_cookie": faults_body.set_cookie,
        "evil_filename": faults_body.evil_filename,
        "extra_fields": faults_body.extra_fields,
        # what it says
        "null_status": faults_body.null_status,
        "unknown_status": faults_body.unknown_status,
        "lower_case": faults_body.lower_case,
        "bare_string": faults_body.bare_string,
        "success_no_run_id": faults_body.success_no_run_id,
        "regress": faults_body.regress,
        "no_previews": faults_body.no_previews,
        "bad_previews": faults_body.bad_previews,
        "null_task_id": faults_body.null_task_id,
    }
)


@attrs.frozen(init=False)
class Fault:
    """One way to answer badly: a name of FAULTS, and options for it.

    Raises:
        ValueError: there is no fault of that name.
        TypeError: the fault does not take such an option.
    """

    name: str
    options: Mapping[str, Any] = attrs.field(hash=False)

    def __init__(self, name: str, /, **options: Any) -> None:
        if name not in FAULTS:
            message = f"No fault is called {name!r}; known: {', '.join(FAULTS)}."
            raise ValueError(message)
        _call, *known = inspect.signature(FAULTS[name]).parameters
        if not options.keys() <= set(known):
            message = f"Fault {name!r} takes the options {known}, not {list(options)}"
            raise TypeError(message)
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "options", options)

    @classmethod
    def of(cls, fault: Fault | str) -> Fault:
        """Return a fault as it is, or the one of that name.

        Raises:
            ValueError: there is no fault of that name.
        """
        return fault if isinstance(fault, Fault) else cls(fault)

    def reply(self, call: Call) -> Reply:
        """Return what a request is answered with instead of the truth."""
        return FAULTS[self.name](call, **self.options)
