"""The lock files of deploy/ fit pyproject.toml, each other and the driver of the manifests."""

from __future__ import annotations

import re
import runpy
import tomllib
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from vgim.cluster.gpu import FIRST_DRIVER

ROOT = Path(__file__).resolve().parent.parent
LOCK = runpy.run_path(str(ROOT / "deploy/lock.py"))
CUDA, CPU = LOCK["CUDA"].read_text(), LOCK["CPU"].read_text()
PINS: dict[str, str] = LOCK["pins"](CUDA)

locks = pytest.mark.parametrize("lock", [CUDA, CPU], ids=["cuda", "cpu"])


def project_needs() -> list[Requirement]:
    read = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = [line for name in LOCK["EXTRAS"] for line in read["project"]["optional-dependencies"][name]]
    return [
        Requirement(line)
        for line in [*read["project"]["dependencies"], *extras, *read["build-system"]["requires"]]
    ]


def machine(python: str, extra: str = "") -> dict[str, str]:
    """What markers of packages ask about, on a node with this Python."""
    return {
        "python_version": python,
        "python_full_version": f"{python}.1",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "platform_machine": "x86_64",
        "platform_system": "Linux",
        "sys_platform": "linux",
        "os_name": "posix",
        "extra": extra,
    }


def installed_as_locked(name: str) -> Distribution | None:
    """A package's metadata, if it is installed here in the version of the lock."""
    try:
        found = distribution(name)
    except PackageNotFoundError:
        return None
    return found if found.version.partition("+")[0] == PINS[name] else None


@locks
def test_what_the_project_needs_is_locked_in_a_version_that_it_takes(lock: str) -> None:
    pins = LOCK["pins"](lock)
    for need in project_needs():
        assert Version(pins[canonicalize_name(need.name)]) in need.specifier, str(need)


@pytest.mark.parametrize("python", LOCK["PYTHONS"])
def test_what_locked_packages_need_is_locked_too(python: str) -> None:
    looked_at: set[tuple[str, str]] = set()
    left = project_needs()
    while left:
        need = left.pop()
        name = canonicalize_name(need.name)
        assert name in PINS, f"{need} of another package is not locked"
        assert Version(PINS[name]) in need.specifier, f"{need} of another package, but {PINS[name]} is locked"
        found = installed_as_locked(name)
        for extra in ["", *need.extras] if found is not None else []:
            if (name, extra) in looked_at:
                continue
            looked_at.add((name, extra))
            for line in found.requires or []:
                other = Requirement(line)
                if other.marker is None or other.marker.evaluate(machine(python, extra)):
                    left.append(other)
    assert ("ray", "default") in looked_at or installed_as_locked("ray") is None


def test_both_locks_have_the_same_versions() -> None:
    assert LOCK["for_cpus"](CUDA) == CPU, "run `make lock`"
    pins = LOCK["pins"](CPU)
    assert pins["torch"] == f"{PINS['torch']}+cpu"
    assert not [name for name in pins if "nvidia" in name or "cuda" in name or name == "triton"]
    assert {name for name in PINS if name not in pins} == {
        name for name in PINS if name.startswith(("nvidia-", "cuda-")) or name == "triton"
    }


def test_pip_checks_a_hash_of_every_package_for_cuda() -> None:
    entries = re.split(r"\n(?=[a-z])", CUDA.partition("make lock\n")[2])
    assert len(entries) == len(PINS)
    assert all(re.search(r"--hash=sha256:[0-9a-f]{64}", entry) for entry in entries)


@locks
def test_locks_name_no_index_but_pytorchs(lock: str) -> None:
    assert set(re.findall(r"\w+://[^/\s]+", lock)) <= {"https://download.pytorch.org"}
    assert "@ " not in lock


def test_the_locks_cuda_runs_on_the_drivers_of_the_manifests() -> None:
    needed = FIRST_DRIVER[int(PINS["cuda-toolkit"].partition(".")[0])]
    for name in ("gcp-l4", "gcp-h100"):
        text = (ROOT / f"deploy/launcher/{name}.yaml").read_text()
        worker = yaml.safe_load(text)["available_node_types"]["gpu_worker"]
        image = worker["node_config"]["disks"][0]["initializeParams"]["sourceImage"]
        assert int(image.rpartition("-nvidia-")[2]) >= needed
    told = ["cluster.yaml", "deploy/launcher/on-premise.yaml", "deploy/Dockerfile", "docs/cluster.md"]
    for path in [*told, "deploy/kuberay/base/cluster/raycluster.yaml", "deploy/kuberay/base/job/rayjob.yaml"]:
        text = " ".join((ROOT / path).read_text().replace("#", " ").split())
        assert re.search(rf"\b{needed} or newer", text), path


def test_every_node_installs_the_lock_and_then_vgim_alone() -> None:
    for path in (ROOT / "cluster.yaml", *(ROOT / "deploy/launcher").glob("*.yaml")):
        config: dict[str, Any] = yaml.safe_load(path.read_text())
        installs = [line.partition("install ")[2] for line in config["setup_commands"] if "install " in line]
        assert installs == [
            f"-q -r ~/vgim/deploy/requirements-{'cpu' if path.stem.endswith('-cpu') else 'cuda'}.txt",
            "-q --no-deps --no-build-isolation ~/vgim",
        ]


def test_the_manifests_ray_is_the_locked_one() -> None:
    for path in ("base/cluster/raycluster.yaml", "base/job/rayjob.yaml"):
        found = re.findall(r"rayVersion: \"([\d.]+)\"", (ROOT / "deploy/kuberay" / path).read_text())
        assert found == [PINS["ray"]]
