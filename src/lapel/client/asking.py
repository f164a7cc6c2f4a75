"""Requests to a server and what they come back with: waits that it asks for are kept, refusals become errors."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import httpx

from lapel import __version__
from lapel.errors import LapelError

T = TypeVar("T")
LOCAL = ("127.0.0.1", "localhost", "::1")
WAITS = (429, 503)  # what the server has not done, and may do later
PAUSE_S = 1.0  # where it does not say when
CONNECT_S = 10.0


class ApiFailure(LapelError):
    """The server answered that it does not do what was asked.

    Attributes:
        status: of HTTP.
        code: a word for programs, such as ``not_found`` or ``busy``; ``error`` where the answer is not Lapel's own.
        message: what was expected, what was found, what to do.
        request_id: what the server's log knows the request by; "" if it did not say.
    """

    def __init__(self, status: int, code: str, message: str, request_id: str = "") -> None:
        self.status, self.code, self.message, self.request_id = status, code, message, request_id
        super().__init__(f"{message} ({status} {code}{f', request {request_id}' if request_id else ''})")


class NoAnswer(LapelError):
    """No server of Lapel answered: nothing is there, it took too long, or it is something else."""


class Asker:
    """One server, and how to ask it; may be used from several threads.

    Args:
        url: of the server.
        token: what it is shown.
        timeout: seconds that an answer may be silent for.
        patience: seconds in all to wait where the server says that it is busy, before that is an error.
        transport: of httpx, in the place of the network.

    Raises:
        LapelError: ``url`` is no address.
    """

    def __init__(
        self, url: str, token: str | None, timeout: float, patience: float, transport: httpx.BaseTransport | None
    ) -> None:
        self.url, self.patience = address(url), patience
        headers = {"User-Agent": f"lapel/{__version__}"}
        if token is not None:
            headers["Authorization"] = f"Bearer {_checked(token)}"
        self._client = httpx.Client(
            base_url=self.url,
            headers=headers,
            timeout=httpx.Timeout(timeout, connect=min(timeout, CONNECT_S)),
            transport=transport,
            trust_env=httpx.URL(self.url).host not in LOCAL,  # no proxy leads to this machine itself
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def told(self, make: Callable[[Any], T], method: str, path: str, **request: Any) -> T:
        """Ask, and make something of the JSON that is answered.

        Raises:
            ApiFailure, NoAnswer: as ``ask``; or what is answered is not what this version of Lapel expects.
        """
        response = self.ask(method, path, **request)
        try:
            return make(response.json())
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise NoAnswer(
                f"{self.url}{path} answers something else than expected ({type(error).__name__}: {error}): is it a "
                f"server of Lapel {__version__}?"
            ) from error

    def ask(
        self, method: str, path: str, body: Any = None, fine: tuple[int, ...] = (), **request: Any
    ) -> httpx.Response:
        """Send a request, again and again while the server is busy, and return the answer.

        Args:
            method: of HTTP.
            path: of the route, quoted.
            body: sent as JSON, unless None.
            fine: statuses that are an answer beside 2xx.
            request: what ``httpx.Client.request`` takes: ``params``, ``files``, ``data``.

        Raises:
            ApiFailure: the server refuses.
            NoAnswer: there is none.
            LapelError: what is asked cannot be sent.
        """
        if body is not None:
            request |= {"content": as_json(body), "headers": {"Content-Type": "application/json"}}
        waited = 0.0
        while True:
            response = self._once(method, path, request)
            if response.is_success or response.status_code in fine:
                return response
            pause = _pause(response) * random.uniform(1, 1.2)  # clients that were refused together come back apart
            if response.status_code not in WAITS or waited + pause > self.patience:
                raise _failure(response, self.url)
            time.sleep(pause)
            waited += pause

    def _once(self, method: str, path: str, request: dict[str, Any]) -> httpx.Response:
        try:
            return self._client.request(method, path, **request)
        except httpx.InvalidURL as error:
            raise LapelError(f"a filter or an id is too long for an address ({error}); shorten it") from error
        except httpx.ConnectError as error:
            raise NoAnswer(f"nothing answers at {self.url} ({error}): start it with lapel serve INDEX") from error
        except httpx.TimeoutException as error:
            raise NoAnswer(f"{self.url} did not answer in time ({type(error).__name__}): raise timeout") from error
        except httpx.HTTPError as error:
            raise NoAnswer(f"{self.url} gave no answer ({error or type(error).__name__}); ask again") from error


def address(url: str) -> str:
    """Bring the address of a server to one form.

    >>> address("http://127.0.0.1:8000/")
    'http://127.0.0.1:8000'

    Raises:
        LapelError: it is none.
    """
    try:
        parts = httpx.URL(url)
        fine = parts.scheme in ("http", "https") and parts.host and not (parts.userinfo or parts.query)
    except (httpx.InvalidURL, TypeError):
        fine = False
    if not fine:
        raise LapelError(f"{url!r} is no address of a server: expected one like http://127.0.0.1:8000")
    return str(parts).rstrip("/")


def as_json(body: Any) -> str:
    """Write JSON, of numpy's numbers too; in ASCII, which can carry any text that Python has.

    Raises:
        LapelError: something that JSON has no word for.
    """
    try:
        return json.dumps(body, allow_nan=False, default=_plain)
    except (TypeError, ValueError) as error:
        raise LapelError(
            f"cannot be sent to a server: {error}; expected text, finite numbers, lists of them"
        ) from error


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if callable(tell := getattr(value, "tolist", None)):
        return tell()
    raise TypeError(f"{value!r:.80} is of {type(value).__name__}")


def _checked(token: str) -> str:
    if not token or not (token.isascii() and token.isprintable()):
        raise LapelError("expected a token of printable ASCII characters; is it the content of the right file?")
    return token.strip()


def _pause(response: httpx.Response) -> float:
    asked = response.headers.get("Retry-After", "")
    return max(float(asked), 0.1) if asked.isdecimal() else PAUSE_S


def _failure(response: httpx.Response, url: str) -> ApiFailure:
    status, request_id = response.status_code, response.headers.get("X-Request-ID", "")
    try:
        error = response.json()["error"]
        return ApiFailure(status, str(error["code"]), str(error["message"]), str(error["request_id"]) or request_id)
    except (ValueError, LookupError, TypeError):  # what stands before the server says so
        pass
    if response.is_redirect:
        return ApiFailure(status, "error", f"{url} leads to {response.headers.get('Location')}: use that address")
    said = " ".join(response.text[:200].split()) or response.reason_phrase
    return ApiFailure(status, "error", f"{url} answers {said!r}", request_id)
