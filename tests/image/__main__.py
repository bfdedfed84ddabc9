"""Builds the root of the image from deploy/Dockerfile, without Docker, and checks it as its user: `make image-check`.

Needs root, debootstrap, util-linux and iproute2, some 15 GB of disk, and Debian's mirror and PyPI. What it builds is
deleted at its end, or kept in the folder of --root. With --wheels, pip reads a folder of wheels instead of PyPI:

    pip download --no-deps --only-binary :all: --python-version 3.13 -d FOLDER -r deploy/requirements-cuda.txt
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.image.checks import CHECKS
from tests.image.dockerfile import DOCKERFILE, health_command, read_steps
from tests.image.root import Image, missing_tools

WRITES = ("FROM", "RUN", "COPY")
"""Instructions that change files; the others say how commands are run."""
BUILT = ".built"
"""A file in a root whose steps have all been taken."""
TIMEOUT_S = 1200


def main() -> int:
    """Build, check, print a line for each; 0 if all is well."""
    parser = argparse.ArgumentParser(prog="python -m tests.image", description=__doc__)
    parser.add_argument(
        "--root", type=Path, help="keep the image here, and check it without building if it is here already"
    )
    parser.add_argument("--wheels", type=Path, help="folder of wheels for pip, instead of PyPI")
    parser.add_argument(
        "--lock", choices=("cuda", "cpu"), default="cuda", help="which lock file is installed"
    )
    options = parser.parse_args()
    lacks = missing_tools()
    if lacks or os.geteuid() != 0:
        print(f"needs root and {', '.join(lacks) or 'nothing else'}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="vgim-image-") as folder:
        root = (options.root or Path(folder)).resolve()
        root.mkdir(parents=True, exist_ok=True)
        return build_and_check(Image(root, options.wheels and options.wheels.resolve()), options.lock)


def build_and_check(image: Image, lock: str) -> int:
    """Take the Dockerfile's steps, then run every check; 0 if all is well, 1 if a check fails."""
    steps = read_steps(DOCKERFILE.read_text(), {"LOCK": lock})
    image.arguments["LOCK"] = lock
    built = image.root / BUILT
    is_built = built.exists()
    for step in steps:
        if is_built and step.instruction in WRITES:
            continue
        began = time.monotonic()
        try:
            image.take(step)
        except subprocess.CalledProcessError as error:
            print(f"{step.instruction} {step.arguments}: failed with {error.returncode}")
            return 1
        if step.instruction in WRITES:
            print(f"{step.instruction} {step.arguments}: {time.monotonic() - began:.0f} s", flush=True)
    built.touch()
    size = subprocess.run(["du", "-sxm", image.root], capture_output=True, text=True, check=True)
    print(f"size: {size.stdout.split()[0]} MB")
    return check(image, health_command(steps))


def check(image: Image, health: str) -> int:
    """Run every check and print how it went; 0 if all pass, else 1."""
    failed = 0
    for name, script in CHECKS.items():
        began = time.monotonic()
        try:
            done = image.run(with_health_checks(script, health), timeout_s=TIMEOUT_S)
            outcome = "passed" if done.returncode == 0 else f"failed with {done.returncode}"
            said = done.stdout[-4000:] + done.stderr[-4000:]
        except subprocess.TimeoutExpired:
            outcome, said = "not done", ""
        print(f"{name}: {outcome} in {time.monotonic() - began:.0f} s", flush=True)
        if outcome != "passed":
            failed = 1
            print(said)
    return failed


def with_health_checks(script: str, command: str) -> str:
    """A check's script with the Dockerfile's health check, and with the same for the agent of its second node."""
    return script.replace("HEALTH_CHECK", command).replace("WORKER_CHECK", command.replace("52365", "52366"))


if __name__ == "__main__":
    sys.exit(main())
