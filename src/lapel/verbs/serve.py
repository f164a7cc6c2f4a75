"""``lapel serve``."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
import sys
import threading
import webbrowser
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, UseAppendAction, arg

from lapel.errors import LapelError
from lapel.shell import say
from lapel.verbs.options import hint

TOKEN = "LAPEL_TOKEN"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
Level = Literal["debug", "info", "warning"]
ANY = ("0.0.0.0", "::")


@dataclass(frozen=True)
class Serve:
    """Serve indexes: a page to search with, in your browser, and an HTTP API. Ctrl-C stops.

    An index that is indexed again meanwhile, or replaced by another one, is taken up without a restart. The token that
    writes need, and everything on another address than this machine's own, comes from --token-file or from the variable
    LAPEL_TOKEN.
    """

    index: Annotated[Positional[tuple[str, ...]], arg(metavar="INDEX ...", help_behavior_hint="(required)")]
    """The index folder, or several, each as FOLDER or NAME=FOLDER; the first one is searched first."""
    host: str = "127.0.0.1"
    """The address to listen on; another than this machine's own needs a token."""
    port: int = 8000
    """The port to listen on; 0 takes a free one."""
    token_file: Annotated[Path | None, hint("FILE: without it: LAPEL_TOKEN, or no writes")] = None
    """A file that holds the token which clients must show."""
    run: Annotated[UseAppendAction[tuple[Path, ...]], hint("RUN: without it: those that made the indexes")] = ()
    """A run folder that is no longer where it was at indexing; give it once for each."""
    allow_host: Annotated[UseAppendAction[tuple[str, ...]], hint("NAME: without it: localhost only")] = ()
    """A name under which a proxy on this machine reaches the server; give it once for each."""
    token_for_all: bool = False
    """Demand the token for reading, too, on this machine's own address: for a proxy that lets strangers in."""
    queue: int = 64
    """How many photographs may wait to be embedded before clients are told to come back later."""
    batch: int = 16
    """How many photographs may share a pass of the model."""
    max_upload_mb: float = 20
    """The largest photograph a client may send."""
    log: Annotated[
        Literal["debug", "info", "warning"] | None, hint("LEVEL: without it: info, in a terminal warning")
    ] = None
    """What to log, as JSON lines on standard error; info has a line for each request."""
    no_open: bool = False
    """Do not open the page in the browser; without a display it is not opened in any case."""
    no_warm: bool = False
    """Load what explains results when somebody first asks for it, which takes seconds, not ahead of that."""

    def execute(self) -> int:
        """Serve until interrupted."""
        folders = named(self.index)
        token = self._token()
        # Cheap checks before the second that the server takes to import.
        from lapel.retrieval.layout import IndexRecord

        for _, folder in folders:
            IndexRecord.read(folder)
        with listening(self.host, self.port) as sockets:
            return self._serve(folders, token, sockets)

    def _serve(self, folders: tuple[tuple[str, Path], ...], token: str | None, sockets: list[socket.socket]) -> int:
        from lapel.serve import logs
        from lapel.serve.app import create_app
        from lapel.serve.settings import ServeSettings
        from lapel.serve.shutdown import Server, configuration, serve

        logs.configure(self.log or ("warning" if sys.stderr.isatty() else "info"))
        settings = ServeSettings(
            folders,
            runs=self.run,
            host=self.host,
            port=sockets[0].getsockname()[1],
            hosts=self.allow_host,
            token=token,
            token_for_all=self.token_for_all,
            warm=not self.no_warm,
            max_upload_mb=self.max_upload_mb,
            queue=self.queue,
            batch=self.batch,
        )
        app = create_app(settings)
        service = app.state.lapel
        service.served.open()
        address = url(self.host, settings.port)
        told = ", ".join(f"{opened.name} ({len(opened.index):,} images)" for opened in service.served.current)
        say(f"serving {told}; Ctrl-C stops")
        print(address, flush=True)
        if not self.no_open:
            show(address)
        return serve(Server(configuration(app, self.host, settings.port, settings.shutdown_s), service.stop), sockets)

    def _token(self) -> str | None:
        if self.token_file is None:
            return os.environ.get(TOKEN) or None
        try:
            token = self.token_file.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise LapelError(f"--token-file {self.token_file} cannot be read ({error})") from error
        if not token:
            raise LapelError(f"--token-file {self.token_file} is empty: expected a token in it")
        return token


def named(indexes: Sequence[str]) -> tuple[tuple[str, Path], ...]:
    """Read FOLDER and NAME=FOLDER; a folder gives its own name, with a number where that is taken.

    >>> [name for name, _ in named(["a/shop", "b/shop", "old=c/shop"])]
    ['shop', 'shop-2', 'old']

    Raises:
        LapelError: no index, or a name given twice.
    """
    if not indexes:
        raise LapelError("expected INDEX, the index folder to serve; make one with: lapel index CATALOGUE --run RUN")
    pairs = []
    for text in indexes:
        name, equals, rest = text.partition("=")
        given = bool(equals and NAME.fullmatch(name) and rest and not Path(text).exists())
        folder = Path(rest if given else text)
        pairs.append((name if given else "", folder))
    names = [name for name, _ in pairs if name]
    for name in names:
        if names.count(name) > 1:
            raise LapelError(f"two indexes are named {name!r}: give each a name of its own")
    found: dict[str, Path] = {}
    for name, folder in pairs:
        plain = name or folder.resolve().name or "index"
        options = (plain if number == 1 else f"{plain}-{number}" for number in range(1, len(pairs) + len(names) + 2))
        free = name or next(each for each in options if each not in found and each not in names)
        found[free] = folder
    return tuple(found.items())


@contextlib.contextmanager
def listening(host: str, port: int) -> Iterator[list[socket.socket]]:
    """Take a port before anything is loaded: a second server is told at once.

    Raises:
        LapelError: it is taken, or the address is none of this machine.
    """
    if not 0 <= port <= 65535:
        raise LapelError(f"--port {port}: expected a number from 0 to 65535")
    try:
        family, kind, _, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        # With its protocol: for TCP alone asyncio turns off Nagle's algorithm, which makes answers 40 ms late.
        found = socket.socket(family, kind, socket.IPPROTO_TCP)
    except (OSError, UnicodeError) as error:
        raise LapelError(f"--host {host!r} is no address of this machine ({error})") from error
    with found:
        try:
            if os.name == "posix":  # elsewhere it would let two servers share a port
                found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            found.bind(place)
            found.listen(256)  # whoever comes while the index is opened waits
        except OSError as error:
            raise LapelError(f"cannot listen on port {port} of {host}: {_advice(error)}") from error
        yield [found]


def _advice(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "another server is running there; stop it, or take a free port with --port 0"
    if error.errno == errno.EADDRNOTAVAIL:
        return "that is no address of this machine; --host 127.0.0.1 is its own, 0.0.0.0 all it has"
    return f"{error.strerror}; try another --port"


def url(host: str, port: int) -> str:
    """Return where a browser on this machine finds a server.

    >>> url("0.0.0.0", 80), url("::1", 8000)
    ('http://127.0.0.1:80/', 'http://[::1]:8000/')
    """
    name = "127.0.0.1" if host in ANY else host
    return f"http://{f'[{name}]' if ':' in name else name}:{port}/"


def show(address: str) -> None:
    """Open a browser where there is a display; nothing happens where there is none."""
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return  # a browser of the terminal would take it over

    def go() -> None:
        with contextlib.suppress(Exception):
            webbrowser.open(address)

    threading.Thread(target=go, daemon=True).start()
