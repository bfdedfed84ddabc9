"""A root file system in which the steps of a Dockerfile run, and then commands as in its container, without Docker."""

from __future__ import annotations

import fnmatch
import shlex
import shutil
import socket
import subprocess
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from tests.image.dockerfile import ROOT, Step

DEBIAN = "http://deb.debian.org/debian"
STAND_IN = "ca-certificates,netbase,tzdata,python3,python3-dev,python3-venv"
"""Debian packages with what the Python image brings."""
DOCKER_CLEAN = 'DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb"; };\n'
"""What keeps packages that were installed out of Debian's images."""
PATH = "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
TOOLS = ("debootstrap", "unshare", "chroot", "mount", "ip")


def missing_tools() -> list[str]:
    """Programs of `TOOLS` that this machine lacks."""
    return [tool for tool in TOOLS if shutil.which(tool) is None]


@dataclass
class Image:
    """The root of an image that is built, and the state that instructions set for those after them."""

    root: Path
    wheels: Path | None = None
    """A folder of wheels for pip, which then asks no index; None for pip's own."""
    user: str = "root"
    folder: str = "/"
    environment: dict[str, str] = field(default_factory=lambda: {"PATH": PATH})
    arguments: dict[str, str] = field(default_factory=dict)

    def take(self, step: Step) -> None:
        """Do what a step says."""
        if step.instruction == "FROM":
            self._start_from(step.arguments)
        elif step.instruction == "ARG":
            name, _, default = step.arguments.partition("=")
            self.arguments.setdefault(name, default)
        elif step.instruction == "ENV":
            self.environment |= dict(pair.split("=", 1) for pair in shlex.split(step.arguments))
        elif step.instruction == "WORKDIR":
            self.folder = step.arguments
            self._inside(step.arguments).mkdir(parents=True, exist_ok=True)
        elif step.instruction == "USER":
            self.user = step.arguments
        elif step.instruction == "COPY":
            *sources, target = step.arguments.split()
            for source in sources:
                self._copy(source, target)
        elif step.instruction == "RUN":
            self.run(step.arguments, networked=True, check=True)

    def run(
        self, command: str, *, networked: bool = False, check: bool = False, timeout_s: float = 3600
    ) -> subprocess.CompletedProcess[str]:
        """Run a shell command as the image's user, with processes, mounts and, unless `networked`, ports of its own.

        Its processes end with it.
        """
        inside = {"HOME": self._home(), **self.environment}
        if networked:
            inside |= self.arguments
            if self.wheels is not None:
                inside |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/wheels"}
        script = "\n".join(
            [
                "set -e",
                "mount --make-rprivate /",
                'mount -t proc proc "$ROOT/proc"',
                'mount --rbind /dev "$ROOT/dev"',
                'mount -t tmpfs -o mode=1777,size=6g shm "$ROOT/dev/shm"',
                'mkdir -p "$ROOT/wheels"' if self.wheels else "",
                'mount --bind "$WHEELS" "$ROOT/wheels"' if self.wheels else "",
                "" if networked else "ip link set lo up",
                'exec chroot --userspec="$AS" "$ROOT" /usr/bin/env -i "$@"',
            ]
        )
        own = ["--mount", "--pid", "--fork", "--kill-child", *([] if networked else ["--net"])]
        variables = [f"{name}={value}" for name, value in inside.items()]
        command = f"cd {shlex.quote(self.folder)} && {command}"
        return subprocess.run(
            ["unshare", *own, "/bin/sh", "-c", script, "sh", *variables, "/bin/sh", "-c", command],
            env={
                "PATH": PATH,
                "ROOT": str(self.root),
                "WHEELS": str(self.wheels),
                "AS": f"{self.user}:{self.user}",
            },
            check=check,
            text=True,
            capture_output=not check,
            timeout=timeout_s,
        )

    def _start_from(self, base: str) -> None:
        """Make what stands in for a base `python:VERSION-slim-RELEASE`, which no registry is asked for.

        It is Debian's release with Debian's Python of the same minor version, as an environment at /usr/local, where
        the base has its Python.
        """
        version, _, variant = base.partition("@")[0].rpartition(":")[2].partition("-")
        release = variant.removeprefix("slim-")
        if not (self.root / "usr").exists():
            command = [
                "debootstrap",
                "--variant=minbase",
                f"--include={STAND_IN}",
                release,
                str(self.root),
                DEBIAN,
            ]
            subprocess.run(command, check=True)
        shutil.copy("/etc/resolv.conf", self.root / "etc/resolv.conf")
        # As Docker does; Ray would wait for a name server, which it does not reach, until its raylet gives up.
        (self.root / "etc/hosts").write_text(f"127.0.0.1 localhost {socket.gethostname()}\n")
        (self.root / "etc/apt/apt.conf.d/docker-clean").write_text(DOCKER_CLEAN)
        self.run("apt-get clean", networked=True, check=True)
        minor = ".".join(version.split(".")[:2])
        if not (self.root / f"usr/bin/python{minor}").exists():
            raise ValueError(f"Debian's {release} has no Python {minor}, which {base} has")
        self.run("python3 -m venv /usr/local", networked=True, check=True)

    def _copy(self, source: str, target: str) -> None:
        if not in_context(source):
            raise FileNotFoundError(f"COPY {source}: .dockerignore leaves it out")
        is_folder = target.endswith("/") or target == "."
        to = self._inside(str(PurePosixPath(self.folder) / target))
        if (ROOT / source).is_dir():
            shutil.copytree(
                ROOT / source, to, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__")
            )
        else:
            shutil.copy(ROOT / source, to / Path(source).name if is_folder else to)

    def _inside(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def _home(self) -> str:
        for line in self._inside("/etc/passwd").read_text().splitlines():
            name, *_, home, _shell = line.split(":")
            if name == self.user:
                return home
        raise ValueError(f"the image has no user {self.user}")


def in_context(source: str) -> bool:
    """Whether .dockerignore, whose last match decides, lets a path from the repository into a build."""
    taken = True
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.strip()
        if pattern and not pattern.startswith("#"):
            wanted = pattern.startswith("!")
            pattern = pattern.removeprefix("!").removeprefix("**/")
            if fnmatch.fnmatch(source, pattern) or source.startswith(f"{pattern}/"):
                taken = wanted
    return taken
