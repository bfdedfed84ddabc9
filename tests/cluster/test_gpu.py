"""What a machine says about its GPUs, and the one line on why torch cannot use them."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vgim.cluster import gpu
from vgim.cluster.gpu import GpuFacts, gpu_problem, gpus_before_torch, read_gpu_facts, why_unusable
from vgim.config.schema import ClusterConfig
from vgim.errors import ConfigError

AGREES = GpuFacts("2.14.1+cu130", "13.0", "2.11.0+cu130", driver="580.65.06", driver_cuda="13.0", num_gpus=4)
OLD_DRIVER = replace(AGREES, driver="550.54.15", driver_cuda="12.4")
CPU_WHEEL = replace(AGREES, torch="2.14.1+cpu", torch_cuda=None)
NO_DRIVER = GpuFacts("2.14.1+cu130", "13.0", "2.11.0+cu130", is_on_bus=True)
FROM_CU126 = "pip install torch==2.14.1+cu126 torchaudio==2.11.0+cu126 --index-url https://download.pytorch.org/whl/cu126"
FROM_CU130 = "pip install torch==2.14.1+cu130 torchaudio==2.11.0+cu130 --index-url https://download.pytorch.org/whl/cu130"


def test_a_driver_older_than_the_wheels_cuda_is_named_with_both_ways_out() -> None:
    assert why_unusable(OLD_DRIVER) == (
        "torch 2.14.1+cu130 is built for CUDA 13.0, which needs driver 580 or newer, and driver 550.54.15 supports "
        f"CUDA 12.4; update the driver to 580 or newer, or install a build that it runs: {FROM_CU126}"
    )


def test_torch_2_8_is_installed_from_the_newest_index_that_has_it() -> None:
    reason = why_unusable(replace(CPU_WHEEL, torch="2.8.0+cpu", torchaudio="2.8.0+cpu"))
    assert reason is not None
    assert "pip install torch==2.8.0+cu126 torchaudio==2.8.0+cu126 --index-url" in reason


def test_no_torchaudio_is_installed_where_there_was_none() -> None:
    reason = why_unusable(replace(OLD_DRIVER, torchaudio=None))
    assert reason is not None
    assert "pip install torch==2.14.1+cu126 --index-url" in reason


def test_a_driver_that_says_no_cuda_is_judged_by_its_version() -> None:
    reason = why_unusable(replace(OLD_DRIVER, driver_cuda=None))
    assert reason is not None
    assert "driver 550.54.15 supports CUDA 12.x;" in reason


@pytest.mark.parametrize(
    "facts", [AGREES, replace(AGREES, torch_cuda="12.6"), replace(AGREES, torch_cuda="13.2")]
)
def test_minor_versions_of_cuda_and_newer_drivers_are_no_reason(facts: GpuFacts) -> None:
    assert why_unusable(facts) is None


def test_a_wheel_without_cuda_gets_the_index_that_its_driver_runs() -> None:
    newer, older = (
        why_unusable(CPU_WHEEL),
        why_unusable(replace(CPU_WHEEL, driver="535.1", driver_cuda="12.2")),
    )
    assert newer == (
        "torch 2.14.1+cpu is built without CUDA, and driver 580.65.06 supports CUDA 13.0; install a build that it "
        f"runs: {FROM_CU130}"
    )
    assert older is not None
    assert older.endswith(f"driver 535.1 supports CUDA 12.2; install a build that it runs: {FROM_CU126}")


def test_a_driver_that_no_wheel_runs_on_must_be_updated() -> None:
    reason = why_unusable(replace(AGREES, driver="470.82.01", driver_cuda="11.4"))
    assert reason is not None
    assert reason.endswith("driver 470.82.01 supports CUDA 11.4; update the driver to 580 or newer")


def test_a_gpu_without_a_driver_and_a_container_without_its_gpus_are_told_apart() -> None:
    without = why_unusable(NO_DRIVER)
    assert without is not None
    assert without.endswith("an NVIDIA GPU is here but no driver; install driver 580 or newer")
    both = why_unusable(replace(NO_DRIVER, torch="2.14.1+cpu", torch_cuda=None))
    assert both is not None
    assert both.endswith(f"install driver 580 or newer, and install a build that it runs: {FROM_CU130}")
    container = replace(AGREES, num_gpus=0, is_on_bus=True)
    assert not container.has_gpu
    assert "docker run --gpus all" in (why_unusable(container) or "")


def test_hidden_gpus_are_none_and_say_so() -> None:
    for value in ("", "-1"):
        hidden = replace(AGREES, visible=value)
        assert not hidden.has_gpu
        assert why_unusable(hidden) == f"CUDA_VISIBLE_DEVICES={value!r} hides every GPU; unset it"
    assert replace(AGREES, visible="0,1").has_gpu


def test_what_the_facts_do_not_explain_is_told_in_torchs_words() -> None:
    assert gpu_problem(AGREES, "CUDA unknown error") == (
        "torch 2.14.1+cu130 sees no GPU, although driver 580.65.06 offers 4 (CUDA unknown error); check that "
        "`nvidia-smi` works here"
    )


def test_auto_trains_on_the_cpu_with_a_line_and_cuda_is_refused() -> None:
    line = gpus_before_torch(ClusterConfig(device="auto"), OLD_DRIVER)
    assert line is not None
    assert line.startswith(
        "training on the CPU although this machine has a GPU: torch 2.14.1+cu130 is built for"
    )
    assert "driver 550.54.15 supports CUDA 12.4" in line
    with pytest.raises(ConfigError, match=r"^cluster\.device=cuda, but torch .* or use cluster\.device=cpu$"):
        gpus_before_torch(ClusterConfig(device="cuda"), OLD_DRIVER)
    assert gpus_before_torch(ClusterConfig(device="cpu"), OLD_DRIVER) is None
    assert gpus_before_torch(ClusterConfig(device="cuda"), AGREES) is None
    nothing = GpuFacts("2.14.1+cu130", "13.0")
    assert gpus_before_torch(ClusterConfig(device="auto"), nothing) is None
    assert gpus_before_torch(ClusterConfig(device="cuda"), nothing) is None  # the placement counts the GPUs
    container = replace(AGREES, num_gpus=0)
    assert gpus_before_torch(ClusterConfig(device="auto"), container) is None
    with pytest.raises(ConfigError, match="docker run --gpus all"):
        gpus_before_torch(ClusterConfig(device="cuda"), container)


def test_facts_come_from_the_drivers_library(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[bool] = []

    def name_driver(name: Any, size: int) -> int:
        assert size >= 80  # NVML's NVML_SYSTEM_DRIVER_VERSION_BUFFER_SIZE
        name.value = b"550.54.15"
        return 0

    def set_to(number: int) -> Callable[[Any], int]:
        def write(out: Any) -> int:
            out._obj.value = number
            return 0

        return write

    library = SimpleNamespace(
        nvmlInit_v2=lambda: 0,
        nvmlShutdown=lambda: ended.append(True),
        nvmlSystemGetDriverVersion=name_driver,
        nvmlSystemGetCudaDriverVersion_v2=set_to(12040),
        nvmlDeviceGetCount_v2=set_to(2),
    )
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    facts = read_gpu_facts()
    assert (facts.driver, facts.driver_cuda, facts.num_gpus) == ("550.54.15", "12.4", 2)
    assert (facts.visible, ended) == ("1", [True])


def test_facts_come_from_files_where_the_drivers_library_is_missing(tmp_path: Path) -> None:
    assert gpu._ask_nvml("libno-such-library.so.1") == gpu._Nvml()
    loaded = tmp_path / "version"
    loaded.write_text(
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.10  Release Build\nGCC version\n"
    )
    assert gpu._loaded_driver(loaded) == "570.86.10"
    loaded.write_text(
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.54.03  Tue Jun  6 22:20:39 UTC 2023\n"
    )
    assert gpu._loaded_driver(loaded) == "535.54.03"
    assert gpu._loaded_driver(tmp_path / "none") is None
    devices = tmp_path / "dev"
    devices.mkdir()
    for name in ("nvidia0", "nvidia12", "nvidiactl", "nvidia-uvm", "null"):
        (devices / name).touch()
    assert gpu._num_device_files(devices) == 2
    assert gpu._num_device_files(tmp_path / "none") == 0
    for name, vendor, kind in (("a", "0x10de", "0x020000"), ("b", "0x1002", "0x030000")):
        (tmp_path / "bus" / name).mkdir(parents=True)
        (tmp_path / "bus" / name / "vendor").write_text(f"{vendor}\n")
        (tmp_path / "bus" / name / "class").write_text(f"{kind}\n")
    assert not gpu._is_on_bus(tmp_path / "bus")
    (tmp_path / "bus" / "b" / "vendor").write_text("0x10de\n")
    assert gpu._is_on_bus(tmp_path / "bus")


def test_versions_of_torch_and_torchaudio_are_read_without_their_import() -> None:
    code = (
        "import sys; from vgim.cluster.gpu import read_gpu_facts; facts = read_gpu_facts();"
        "assert not {'torch', 'torchaudio'} & set(sys.modules); import torch, torchaudio;"
        "assert (facts.torch, facts.torch_cuda) == (str(torch.__version__), torch.version.cuda), facts;"
        "assert facts.torchaudio == torchaudio.__version__, facts"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
