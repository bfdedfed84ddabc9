"""A network of simulated nodes: each has its own network namespace, name, address, and folder for Ray's session.

The namespaces hang on a bridge in a namespace of their own, so that nothing changes in the network of this machine.
What nodes share is this machine's file system, as nodes of a cluster share storage. Needs root and Debian's `iproute2`.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

SUBNET = "10.77.0"
RAY_FOLDER = Path("/tmp/ray")
"""Where Ray keeps its sessions; every node has a folder of its own in its place."""


def why_no_namespaces() -> str:
    """Why this machine can have no network of simulated nodes; empty if it can."""
    if not sys.platform.startswith("linux"):
        return "network namespaces need Linux"
    for program in ("ip", "unshare"):
        if shutil.which(program) is None:
            return f"there is no program `{program}` (Debian: iproute2, util-linux)"
    if os.geteuid():
        return "network namespaces need root"
    name = f"vgim-{secrets.token_hex(3)}"
    tried = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if tried.returncode:
        return f"this machine allows no network namespace: {tried.stderr.strip()}"
    _ip("netns", "del", name)
    return ""


@dataclass(frozen=True)
class Host:
    """A node's place in the network."""

    number: int
    namespace: str
    folder: Path
    """What is at `RAY_FOLDER` for the node's processes."""

    @property
    def name(self) -> str:
        return f"node{self.number}"

    @property
    def address(self) -> str:
        return f"{SUBNET}.{self.number}"

    def pids(self) -> list[int]:
        """All processes of the node."""
        return [int(pid) for pid in _ip("netns", "pids", self.namespace).split()]

    def command_lines(self) -> dict[int, str]:
        """Command line of each of the node's processes, by its id."""
        lines = {}
        for pid in self.pids():
            with suppress(OSError):  # it has just ended
                lines[pid] = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
        return lines


class NodeNetwork:
    """Hosts that reach one another by name and address, and nothing else.

    Args:
        folder: For the hosts' own files.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._prefix = folder, f"vgim-{secrets.token_hex(3)}"
        self._switch = f"{self._prefix}-switch"
        self._hosts_file = folder / "hosts"
        self.hosts: list[Host] = []
        folder.mkdir(parents=True, exist_ok=True)
        RAY_FOLDER.mkdir(exist_ok=True)
        self._hosts_file.write_text("127.0.0.1 localhost\n")
        _ip("netns", "add", self._switch)
        _ip("-n", self._switch, "link", "add", "bridge", "type", "bridge")
        _ip("-n", self._switch, "link", "set", "bridge", "up")

    def add_host(self) -> Host:
        number = len(self.hosts) + 1
        host = Host(number, f"{self._prefix}-{number}", self._folder / f"node{number}")
        host.folder.mkdir()
        with self._hosts_file.open("a") as file:  # the same file for all: bound, not copied
            file.write(f"{host.address} {host.name}\n")
        inside, port = ("-n", host.namespace), f"port{number}"
        _ip("netns", "add", host.namespace)
        self.hosts.append(host)
        _ip("-n", self._switch, *f"link add {port} type veth peer name eth0 netns {host.namespace}".split())
        _ip("-n", self._switch, "link", "set", port, "master", "bridge", "up")
        _ip(*inside, "addr", "add", f"{host.address}/24", "dev", "eth0")
        _ip(*inside, "link", "set", "eth0", "up")
        _ip(*inside, "link", "set", "lo", "up")
        return host

    def set_link(self, host: Host, *, up: bool) -> None:
        """Plug a host's network cable in, or pull it: no packet comes through, and nobody is told."""
        _ip("-n", self._switch, "link", "set", f"port{host.number}", "up" if up else "down")

    def popen(
        self, host: Host, command: Sequence[str], environment: Mapping[str, str], output: IO[bytes]
    ) -> subprocess.Popen[bytes]:
        """Start a command on a host."""
        prepare = (
            'hostname "$1"; mount --bind "$2" /etc/hosts; mount --bind "$3" /tmp/ray; shift 3; exec "$@"'
        )
        arguments = (host.name, str(self._hosts_file), str(host.folder))
        return subprocess.Popen(
            [
                *("ip", "netns", "exec", host.namespace, "unshare", "--mount", "--uts"),
                *("sh", "-e", "-c", prepare, "sh", *arguments, *command),
            ],
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )

    def close(self) -> None:
        """End all processes of all hosts, and take the network away."""
        for host in self.hosts:
            kill_all(host)
        for namespace in (*(host.namespace for host in self.hosts), self._switch):
            _ip("netns", "del", namespace)


def kill_all(host: Host) -> None:
    """End all of a host's processes, as a power cut does."""
    while pids := host.pids():
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _ip(*arguments: str) -> str:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    assert not done.returncode, f"ip {' '.join(arguments)}: {done.stderr}"
    return done.stdout
