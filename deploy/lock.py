"""Writes the lock files of deploy/: every package that vgim and its build need, in the versions of this environment.

`make lock` runs it in the environment of the tests, so that clusters install what was tested.

- requirements-cuda.txt is for GPU nodes: torch as PyPI has it, which is a build for CUDA. pip checks its hashes.
- requirements-cpu.txt has the same versions without CUDA, with the builds of torch and torchaudio for CPUs. They are in
  PyTorch's index alone; the file has no hashes, since pip wants one for every package or for none.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import tomllib
from importlib.metadata import distributions
from pathlib import Path

DEPLOY = Path(__file__).resolve().parent
PROJECT = DEPLOY.parent / "pyproject.toml"
CUDA, CPU = DEPLOY / "requirements-cuda.txt", DEPLOY / "requirements-cpu.txt"
EXTRAS = ("analysis", "data")
"""What a cluster runs beside training: analyses of latents, downloads of corpora."""
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
"""The Pythons that one lock must fit: of the tests, of Ubuntu 24.04 and 26.04 under the launcher, and of the image."""
PLATFORM = "x86_64-manylinux_2_28"
PYPI = "https://pypi.org/simple"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
BUILT_FOR_CUDA = ("torch", "torchaudio")
"""Packages that PyTorch's index has for CPUs, as PyPI's version with +cpu behind it."""
CUDA_ONLY = re.compile(r"(nvidia|cuda)-|triton$")
"""Packages that nothing but torch for CUDA needs."""
CPU_HEADER = f"""\
# requirements-cuda.txt for machines without a GPU, made from it by `make lock`.
--extra-index-url {CPU_INDEX}
"""


def main() -> None:
    """Write both files."""
    locks = {python: resolve(python) for python in PYTHONS}
    lock = locks[PYTHONS[0]]
    if others := [python for python in PYTHONS if locks[python] != lock]:
        sys.exit(
            f"Python {PYTHONS[0]} needs other packages or versions than {' and '.join(others)}; nothing is written"
        )
    CUDA.write_text(lock)
    CPU.write_text(for_cpus(lock))
    print(f"wrote {CUDA} and {CPU}")


def resolve(python: str) -> str:
    """The lock for CUDA under a version of Python."""
    build = tomllib.loads(PROJECT.read_text())["build-system"]["requires"]
    with tempfile.TemporaryDirectory() as folder:
        tested = Path(folder) / "tested.txt"
        tested.write_text("".join(f"{line}\n" for line in installed()))
        command = [
            *(sys.executable, "-m", "uv", "pip", "compile", PROJECT.name, "-"),
            *(f"--extra={extra}" for extra in EXTRAS),
            *("--constraint", str(tested), "--python-version", python, "--python-platform", PLATFORM),
            *("--no-config", "--default-index", PYPI, "--generate-hashes", "--no-annotate", "--quiet"),
            *("--custom-compile-command", "make lock"),
        ]
        # Whatever index a user's environment names for uv is not the project's.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("UV_")}
        done = subprocess.run(
            command,
            input="\n".join(build),
            cwd=PROJECT.parent,
            env=environment,
            capture_output=True,
            text=True,
        )
    if done.returncode:
        sys.exit(f"uv finds no versions that fit together under Python {python}:\n{done.stderr}")
    return done.stdout


def installed() -> list[str]:
    """name==version of every package of this environment but vgim, without builds (2.14.1+cu130 is 2.14.1)."""
    found = {dist.name: dist.version.partition("+")[0] for dist in distributions()}
    return [f"{name}=={version}" for name, version in sorted(found.items()) if name != "vgim"]


def pins(lock: str) -> dict[str, str]:
    """The version of each package of a lock, by name."""
    return dict(re.findall(r"^([\w.-]+)==(\S+)", lock, flags=re.MULTILINE))


def for_cpus(lock: str) -> str:
    """The lock for CPUs with the versions of `lock`, which is one for CUDA."""
    kept = {name: version for name, version in pins(lock).items() if not CUDA_ONLY.match(name)}
    return CPU_HEADER + "".join(
        f"{name}=={version}{'+cpu' if name in BUILT_FOR_CUDA else ''}\n" for name, version in kept.items()
    )


if __name__ == "__main__":
    main()
