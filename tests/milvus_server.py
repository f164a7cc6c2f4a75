"""A real Milvus server for the tests marked ``milvus``, as it comes from its package.

It listens on every interface, so it is started only where the loopback is the only one. Run as a program this file
makes such a place, a network namespace, and runs a command in it; the exit status is the command's:

    python tests/milvus_server.py pytest -m milvus
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import platform
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

HOME = Path(__file__).parents[1] / ".venv-milvus"
PROGRAMS = HOME / "server"
CLONE_NEWUSER, CLONE_NEWNET, SIOCSIFFLAGS, IFF_UP = 0x10000000, 0x40000000, 0x8914, 0x1
# The server as it is, but for how long it waits before it looks again: tests are many small steps.
SETTINGS = {
    "PROXY_TIMETICKINTERVAL": "20",
    "QUERYCOORD_CHECKINTERVAL": "100",
    "QUERYCOORD_CHECKSEGMENTINTERVAL": "100",
    "QUERYCOORD_CHECKCHANNELINTERVAL": "100",
    "QUERYCOORD_DISTPULLINTERVAL": "50",
    "QUERYCOORD_CHECKHANDOFFINTERVAL": "500",
    "COMMON_SESSION_TTL": "3",
}
# Ends with the process that started it, however that ends: its standard input closes. Asked for a port of its own it
# takes that again at once, though connections of before still linger.
SERVE = """
import shutil, socket, sys
from milvus import default_server as server
def bound(port):
    found = socket.socket()
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind(("127.0.0.1", port))
        found.listen()
        return found
    except OSError:
        found.close()
server.config.try_bind_port = bound
server.set_base_dir(sys.argv[1])
server.start()
print(server.listen_port, flush=True)
sys.stdin.read()
server.server_proc.kill()
server.server_proc.wait()
shutil.rmtree(sys.argv[1], ignore_errors=True)
"""
UNPACK = "import milvus, sys; milvus._initialize_data_files(sys.argv[1])"


def unpack() -> None:
    """Unpack the server's programs, once: it takes as long as starting them."""
    if not (PROGRAMS / "bin").is_dir():
        half = PROGRAMS.with_name(f"server-{os.getpid()}")
        subprocess.run([HOME / "bin/python", "-c", UNPACK, half], check=True)
        half.rename(PROGRAMS)


class MilvusServer:
    """A server with a folder of its own; it may be killed and started again on what it wrote."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="lapel-milvus-"))
        self._process: subprocess.Popen[str] | None = None
        self.port = 0

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, or start it again, and wait until it answers.

        Raises:
            RuntimeError: not here, or it did not start.
        """
        if why_not():
            raise RuntimeError(why_not())
        unpack()
        if not (self._folder / "bin").exists():
            (self._folder / "bin").symlink_to(PROGRAMS / "bin")
        self._process = subprocess.Popen(
            [HOME / "bin/python", "-c", SERVE, self._folder],
            env={**os.environ, **SETTINGS},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        answer = self._process.stdout.readline()
        if not answer:
            log = (self._folder / "logs/milvus-stdout.log").read_text(errors="replace")[-3000:]
            self.kill()
            raise RuntimeError(f"the Milvus server did not start; the end of its log:\n{log}")
        self.port = int(answer)

    def kill(self) -> None:
        """End the server and the process that holds it, as a power cut would."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.communicate()
            self._process = None

    def close(self) -> None:
        """End the server and remove what it wrote."""
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)


def why_not() -> str:
    """Say why the server cannot be started here, or ""."""
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        return f"the Milvus server is for Linux on x86_64, not {platform.system()} on {platform.machine()}"
    if not (HOME / "bin/python").exists():
        return "the Milvus server is not installed: make test does it"
    if [name for _, name in socket.if_nameindex()] != ["lo"]:
        return "the Milvus server wants a network namespace of its own: make test gives it one"
    return ""


def enter_namespace() -> None:
    """Leave the machine's network for one that has nothing but the loopback.

    Raises:
        OSError: not allowed here.
    """
    user, group = os.geteuid(), os.getegid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET | (CLONE_NEWUSER if user else 0)):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    if user:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP))


if __name__ == "__main__":
    if sys.argv[1:] == ["--unpack"]:
        sys.exit(unpack())
    try:
        enter_namespace()
    except (OSError, AttributeError) as error:
        print(f"no network namespace ({error}): the tests on a Milvus server are skipped", file=sys.stderr)
    os.execvp(sys.argv[1], sys.argv[1:])
