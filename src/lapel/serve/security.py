"""Who may do what: the token, the hosts this server answers to, and the headers that keep a page to itself."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Collection
from dataclasses import dataclass, field

from starlette.datastructures import Headers
from starlette.types import Scope

from lapel.errors import LapelError
from lapel.serve.errors import Forbidden, Unauthorised, WrongHost

SHORTEST = 16  # characters of a token
LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
OPEN = ("/", "/v1/health", "/v1/ready")
"""Paths that no token guards on any host: a browser sends none with the page itself, which holds no data."""
OPEN_BELOW = ("/page/",)
WRITES_BELOW = ("/v1/items",)
READING = ("GET", "HEAD", "OPTIONS")

HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), geolocation=(), microphone=()",
}
"""On every answer."""


class SecurityError(LapelError):
    """A server may not be started like this."""


@dataclass(frozen=True)
class Security:
    """What a server asks of its clients.

    Attributes:
        host: address it listens on.
        token: what a client shows as ``Authorization: Bearer TOKEN``; None: nobody may write.
        hosts: further names under which clients reach it, for a proxy on the same machine.
        everyone: whether reading needs the token on this machine too, as whoever comes through a proxy seems to be.

    Raises:
        SecurityError: no token though other machines can reach it, or one that is too easily guessed.
    """

    host: str = "127.0.0.1"
    token: str | None = field(default=None, repr=False)
    hosts: Collection[str] = ()
    everyone: bool = False

    def __post_init__(self) -> None:
        if self.token is None and self.everyone:
            raise SecurityError(
                "everyone is to show a token (--token-for-all): expected one with --token-file or in LAPEL_TOKEN, "
                "found none"
            )
        if self.token is None and not self.local:
            raise SecurityError(
                f"other machines can reach {self.host}: expected a token that they must show, found none; give one "
                "with --token-file or in LAPEL_TOKEN, or listen on 127.0.0.1"
            )
        if self.token is not None:
            _check_token(self.token)

    @property
    def local(self) -> bool:
        """Whether it listens where this machine alone can reach it."""
        return is_loopback(self.host)

    def check(self, scope: Scope) -> None:
        """Let a request pass, or raise.

        Raises:
            WrongHost: it came under a foreign name: a page of somebody else had its name resolve to this machine.
            Forbidden: it comes from a page of another origin (a link to this one is fine), or writes though there is
                no token.
            Unauthorised: the token is missing or wrong.
        """
        headers = Headers(scope=scope)
        method, path = scope["method"], scope["path"]
        if self.local:
            self._check_host(headers)
            self._check_origin(headers, method in READING)
        writes = method not in READING and path.startswith(WRITES_BELOW)
        if writes and self.token is None:
            raise Forbidden(
                "this server takes no writes: start it with --token-file or LAPEL_TOKEN to change its indexes"
            )
        guarded = self.everyone or not self.local
        if writes or (guarded and not (path in OPEN or path.startswith(OPEN_BELOW))):
            self.demand(headers)

    def demand(self, headers: Headers) -> None:
        """Raise unless the headers show the token.

        Raises:
            Unauthorised: it is missing or wrong.
        """
        scheme, _, shown = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not shown.strip():
            raise Unauthorised("expected the header Authorization: Bearer TOKEN with the token of this server")
        # Digests have one length, so that not even the length of the token shows in the time this takes.
        if not hmac.compare_digest(_digest(shown.strip()), _digest(self.token or "")) or not self.token:
            raise Unauthorised("the token is not the one of this server")

    def _check_host(self, headers: Headers) -> None:
        name = host_name(headers.get("host", ""))
        if name not in LOCAL_NAMES and name not in self._names and name != host_name(self.host):
            raise WrongHost(
                "this server answers to localhost alone: use that name, or start it with --allow-host and the name "
                "that a proxy in front of it has"
            )

    @property
    def _names(self) -> set[str]:
        return {host_name(name) for name in self.hosts}

    def _check_origin(self, headers: Headers, reads: bool) -> None:
        origin = headers.get("origin")
        if origin is None and headers.get("sec-fetch-site", "none") in ("none", "same-origin"):
            return  # no browser, or the page itself
        if origin is None and reads and headers.get("sec-fetch-mode") == "navigate":
            return  # somebody followed a link
        name = host_name((origin or "").partition("://")[2])
        same = (origin or "").partition("://")[2] == headers.get("host")
        if not same and name not in self._names:
            raise Forbidden("pages of other origins may not use this server")


def is_loopback(host: str) -> bool:
    """Whether an address to listen on can be reached from this machine alone.

    >>> is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("localhost"), is_loopback("0.0.0.0")
    (True, True, True, False)
    """
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:  # a name: who knows where it leads
        return False


def host_name(host: str) -> str:
    """Return the name in a Host header, without its port.

    >>> host_name("LocalHost:8000"), host_name("[::1]:80"), host_name("a.example")
    ('localhost', '::1', 'a.example')
    """
    host = host.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdecimal() else host


def _check_token(token: str) -> None:
    if len(token) < SHORTEST or not (token.isascii() and token.isprintable()) or " " in token:
        raise SecurityError(
            f"expected a token of {SHORTEST} or more printable ASCII characters without spaces, found one of "
            f"{len(token)}; python -c 'import secrets; print(secrets.token_urlsafe())' makes one"
        )


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
