"""TLS on loopback: certificates of an authority that only tests trust."""

from __future__ import annotations

import functools
import ssl

import trustme


@functools.cache
def _authority() -> trustme.CA:
    return trustme.CA()


def certified(*hosts: str) -> ssl.SSLContext:
    """Return what a server needs that is to pass for these hosts."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    chain = _authority().issue_cert(*hosts).private_key_and_cert_chain_pem
    with chain.tempfile() as pem:
        context.load_cert_chain(pem)
    return context


def trusting() -> ssl.SSLContext:
    """Return what a client of such a server needs."""
    return ssl.create_default_context(cadata=_authority().cert_pem.bytes().decode())
