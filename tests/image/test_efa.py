"""deploy/Dockerfile.efa takes AWS's installer by its checksum, and does not build an image without NCCL's plugin."""

from __future__ import annotations

import hashlib
import re
import shlex
import subprocess
import tarfile
from pathlib import Path

from tests.image.dockerfile import DOCKERFILE, ROOT, arguments_of, read_steps

STEPS = read_steps((ROOT / "deploy/Dockerfile.efa").read_text())
ARGUMENTS = dict(argument.split("=", 1) for argument in arguments_of(STEPS, "ARG"))
FIRST_WITH_DEBIAN_13 = (1, 46, 0)
"""The installer that has libfabric and NCCL's plugin for Debian 13, by AWS's release notes."""


def take_the_step(
    tmp_path: Path, *, sha256: str | None = None, plugin: str = "libnccl-net-ofi.so"
) -> tuple[int, str]:
    """Run the step of the file, with a stand-in for AWS's archive; its exit code, and how the installer was called.

    Args:
        sha256: The checksum that the step is given; None for the archive's own.
        plugin: The file that the installer leaves where NCCL's plugin belongs.
    """
    (step,) = arguments_of(STEPS, "RUN")
    amazon, made = tmp_path / "amazon", tmp_path / "made/aws-efa-installer"
    made.mkdir(parents=True)
    called = tmp_path / "called"
    lib = amazon / "ofi-nccl/lib"
    installer = f'echo "$@" > {called}\nmkdir -p {lib}\ntouch {lib}/{plugin}\n'
    (made / "efa_installer.sh").write_text(f"#!/bin/sh\n{installer}")
    (made / "efa_installer.sh").chmod(0o755)
    archive = tmp_path / "archive.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(made, "aws-efa-installer")
    for name, script in (
        ("wget", f'cp {archive} "$(basename "$2")"'),
        ("apt-get", "exit 0"),
        ("rm", "exit 0"),
    ):
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "tmp").mkdir()
    step = step.replace("/opt/amazon", str(amazon)).replace("cd /tmp ", f"cd {tmp_path}/tmp ")
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    environment = {**ARGUMENTS, "EFA_SHA256": sha256 or found, "PATH": f"{tmp_path}:/usr/bin:/bin"}
    done = subprocess.run(["sh", "-c", step], env=environment, capture_output=True, check=False)
    return done.returncode, called.read_text() if called.exists() else ""


def test_the_installer_is_pinned_by_version_and_checksum_and_fits_the_base() -> None:
    version = tuple(int(part) for part in ARGUMENTS["EFA_VERSION"].split("."))
    assert version >= FIRST_WITH_DEBIAN_13
    assert re.fullmatch(r"[0-9a-f]{64}", ARGUMENTS["EFA_SHA256"])
    (base,) = arguments_of(read_steps(DOCKERFILE.read_text()), "FROM")
    assert base.endswith("-trixie")  # Debian 13
    assert (
        f"| {ARGUMENTS['EFA_VERSION']} | `deploy/Dockerfile.efa` |"
        in (ROOT / "docs/kubernetes.md").read_text()
    )


def test_the_installer_runs_without_what_belongs_to_the_node(tmp_path: Path) -> None:
    code, called = take_the_step(tmp_path)
    assert code == 0
    assert set(called.split()) == {"-y", "--skip-kmod", "--skip-limit-conf", "--no-verify", "--skip-mpi"}


def test_an_archive_with_another_checksum_is_not_run(tmp_path: Path) -> None:
    code, called = take_the_step(tmp_path, sha256=ARGUMENTS["EFA_SHA256"])
    assert code != 0
    assert called == ""


def test_an_installer_that_brings_no_plugin_ends_the_build(tmp_path: Path) -> None:
    code, called = take_the_step(tmp_path, plugin="libother.so")
    assert called
    assert code != 0


def test_the_image_runs_as_the_user_of_the_other_one_and_finds_the_plugin() -> None:
    assert arguments_of(STEPS, "USER") == ["root", "ray"]
    pairs = dict(pair.split("=", 1) for pair in shlex.split(arguments_of(STEPS, "ENV")[-1]))
    assert pairs["FI_PROVIDER"] == "efa"
    assert pairs["LD_LIBRARY_PATH"] in (ROOT / "deploy/launcher/aws-h100.yaml").read_text()
