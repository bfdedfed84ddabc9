"""Whether torch can use this machine's NVIDIA GPUs: the CUDA that it was built for, the driver, and the fix."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import re
import runpy
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from vgim.config.schema import ClusterConfig
from vgim.errors import ConfigError

FIRST_DRIVER = {13: 580, 12: 525, 11: 450}
"""CUDA's major version → the first driver that runs all of its minor versions (NVIDIA, CUDA Compatibility, table 1)."""
WHEELS = {13: "cu130", 12: "cu126"}
"""CUDA's major version → the index of wheels that every torch since 2.9 has been built for; 2.8 has only cu126."""
INDEX = "https://download.pytorch.org/whl"
DRIVER_FILE = Path("/proc/driver/nvidia/version")
DEVICES, BUS = Path("/dev"), Path("/sys/bus/pci/devices")
NVIDIA, DISPLAY_CLASS = "0x10de", "0x03"
"""PCI vendor, and the first byte of the PCI class of graphics and 3D controllers."""
NVML = "libnvidia-ml.so.1"
"""NVIDIA's management library, which comes with the driver."""


@dataclass(frozen=True)
class GpuFacts:
    """What a machine says about its GPUs without any use of CUDA. None of it is asked of torch, which need not load."""

    torch: str
    """Version of the installed torch, such as 2.14.1+cu130."""
    torch_cuda: str | None
    """CUDA that torch was built for, such as 13.0; None for a build without CUDA."""
    torchaudio: str | None = None
    """Version of the installed torchaudio, which must be built for the same CUDA; None if there is none."""
    driver: str | None = None
    """Version of the NVIDIA driver that is loaded, such as 550.54.15; None for no driver."""
    driver_cuda: str | None = None
    """Newest CUDA that the driver supports, such as 12.4; None if it does not say."""
    num_gpus: int = 0
    """GPUs that the driver offers."""
    is_on_bus: bool = False
    """Whether an NVIDIA GPU is plugged in, with or without a driver."""
    visible: str | None = None
    """CUDA_VISIBLE_DEVICES."""
    is_rocm: bool = False
    """Whether torch was built for AMD's GPUs, of which this file knows nothing."""

    @property
    def is_hidden(self) -> bool:
        """Whether CUDA_VISIBLE_DEVICES shows no GPU to this process."""
        return self.visible is not None and self.visible.strip() in ("", "-1", "NoDevFiles")

    @property
    def num_visible(self) -> int:
        """GPUs of the driver that CUDA_VISIBLE_DEVICES leaves, as Ray counts them."""
        if self.is_hidden or self.visible is None:
            return 0 if self.is_hidden else self.num_gpus
        return min(self.num_gpus, len(self.visible.split(",")))

    @property
    def has_gpu(self) -> bool:
        """Whether this process has a GPU that torch might use.

        A container on a machine with GPUs sees the driver, but has none of its devices unless it was given them.
        """
        is_there = self.num_gpus > 0 or (self.is_on_bus and self.driver is None)
        return is_there and not self.is_hidden and not self.is_rocm


def read_gpu_facts() -> GpuFacts:
    """The facts of this machine and process."""
    version = _version("torch")
    nvml = _ask_nvml()
    driver = nvml.driver or _loaded_driver()
    return GpuFacts(
        torch=str(version.get("__version__", "of an unknown version")),
        torch_cuda=version.get("cuda"),
        torchaudio=_version("torchaudio").get("__version__"),
        driver=driver,
        driver_cuda=nvml.cuda,
        num_gpus=nvml.num_gpus or _num_device_files(),
        is_on_bus=_is_on_bus(),
        visible=os.environ.get("CUDA_VISIBLE_DEVICES"),
        is_rocm=version.get("hip") is not None,
    )


def why_unusable(facts: GpuFacts) -> str | None:
    """Why torch cannot use a GPU here and what to do, in one line; None if the facts show no reason."""
    if facts.is_rocm:
        return None
    if facts.is_hidden:
        return f"CUDA_VISIBLE_DEVICES={facts.visible!r} hides every GPU; unset it"
    if facts.driver is None:
        return _without_driver(facts)
    if not facts.num_gpus:
        return (
            f"NVIDIA's driver {facts.driver} is loaded but offers this process no GPU; a container must be started "
            "with its GPUs (docker run --gpus all, or a limit nvidia.com/gpu on Kubernetes)"
        )
    newest = _newest_cuda(facts)
    supports = f"driver {facts.driver} supports CUDA {facts.driver_cuda or f'{newest}.x'}"
    if newest < min(WHEELS):
        return f"{_built_for(facts)}, and {supports}; {_update(facts)}"
    if facts.torch_cuda is None:
        return f"{_built_for(facts)}, and {supports}; {_install(facts, newest)}"
    if _major(facts.torch_cuda) > newest:
        return f"{_built_for(facts)}, and {supports}; {_update(facts)}, or {_install(facts, newest)}"
    return None


def gpu_problem(facts: GpuFacts, torch_error: str) -> str:
    """Why torch, which was asked, cannot use a GPU that is here or that is needed.

    Args:
        torch_error: What torch itself says.
    """
    if reason := why_unusable(facts):
        return reason
    return (
        f"torch {facts.torch} sees no GPU, although driver {facts.driver} offers {facts.num_gpus} ({torch_error}); "
        "check that `nvidia-smi` works here"
    )


def gpus_before_torch(cluster: ClusterConfig, facts: GpuFacts | None = None) -> str | None:
    """A sentence for the log if this machine has GPUs that its torch cannot use; None if torch may use them.

    It needs no torch, which a launch on Ray does not load. What the facts do not show, the workers find.

    Raises:
        ConfigError: `cluster.device=cuda`, and the facts show that torch can use no GPU.
    """
    if cluster.device == "cpu":
        return None
    facts = facts or read_gpu_facts()
    reason = why_unusable(facts) if facts.has_gpu or facts.driver is not None else None
    if reason is None:
        return None
    if cluster.device == "cuda":
        raise ConfigError(asked_for_a_gpu(reason))
    return idle_gpu(reason) if facts.has_gpu else None


def idle_gpu(reason: str) -> str:
    """The sentence of a run that trains on the CPU beside a GPU."""
    return f"training on the CPU although this machine has a GPU: {reason}; cluster.device=cpu silences this line"


def asked_for_a_gpu(reason: str) -> str:
    """The error of a run that needs a GPU."""
    return f"cluster.device=cuda, but {reason}; or use cluster.device=cpu"


def _without_driver(facts: GpuFacts) -> str:
    there = "an NVIDIA GPU is here but no driver" if facts.is_on_bus else "no NVIDIA driver is loaded"
    if facts.torch_cuda is None:
        newest = max(WHEELS)
        driver = f"install driver {FIRST_DRIVER[newest]} or newer"
        return f"{_built_for(facts)}, and {there}; {driver}, and {_install(facts, newest)}"
    needed = FIRST_DRIVER.get(_major(facts.torch_cuda))
    return f"{_built_for(facts)}, and {there}; install driver {needed or max(FIRST_DRIVER.values())} or newer"


def _built_for(facts: GpuFacts) -> str:
    if facts.torch_cuda is None:
        return f"torch {facts.torch} is built without CUDA"
    needed = FIRST_DRIVER.get(_major(facts.torch_cuda))
    needs = f", which needs driver {needed} or newer" if needed else ""
    return f"torch {facts.torch} is built for CUDA {facts.torch_cuda}{needs}"


def _update(facts: GpuFacts) -> str:
    needed = FIRST_DRIVER.get(_major(facts.torch_cuda or f"{min(WHEELS)}.0"), max(FIRST_DRIVER.values()))
    return f"update the driver to {needed} or newer"


def _install(facts: GpuFacts, cuda: int) -> str:
    """The command that installs the same versions for a driver of CUDA's major version `cuda`."""
    newest = 12 if facts.torch.startswith("2.8.") else max(WHEELS)
    wheel = WHEELS[min(cuda, newest)]
    installed = {"torch": facts.torch, "torchaudio": facts.torchaudio}
    builds = [f"{name}=={v.partition('+')[0]}+{wheel}" for name, v in installed.items() if v is not None]
    return f"install a build that it runs: pip install {' '.join(builds)} --index-url {INDEX}/{wheel}"


def _newest_cuda(facts: GpuFacts) -> int:
    """Major version of the newest CUDA that the driver supports; 0 if it is older than all that are known."""
    if facts.driver_cuda is not None:
        return _major(facts.driver_cuda)
    driver = _major(facts.driver or "0")
    return next((cuda for cuda, first in sorted(FIRST_DRIVER.items(), reverse=True) if driver >= first), 0)


def _major(version: str) -> int:
    digits = re.match(r"\d+", version)
    return int(digits[0]) if digits else 0


def _version(package: str) -> dict[str, str | None]:
    """The names of a package's version.py, read without an import of the package; empty if there are none."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return {}
    with suppress(OSError, SyntaxError):
        return runpy.run_path(str(Path(spec.origin).with_name("version.py")))
    return {}


@dataclass(frozen=True)
class _Nvml:
    driver: str | None = None
    cuda: str | None = None
    num_gpus: int = 0


def _ask_nvml(library: str = NVML) -> _Nvml:
    """What the driver's own library says; nothing where it is missing or refuses."""
    try:
        nvml = ctypes.CDLL(library)
        if nvml.nvmlInit_v2() != 0:
            return _Nvml()
    except (OSError, AttributeError):
        return _Nvml()
    try:
        name, cuda, count = ctypes.create_string_buffer(96), ctypes.c_int(), ctypes.c_uint()
        has_name = nvml.nvmlSystemGetDriverVersion(name, len(name)) == 0
        has_cuda = nvml.nvmlSystemGetCudaDriverVersion_v2(ctypes.byref(cuda)) == 0
        has_count = nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)) == 0
    finally:
        nvml.nvmlShutdown()
    return _Nvml(
        name.value.decode(errors="replace") if has_name else None,
        f"{cuda.value // 1000}.{cuda.value % 1000 // 10}" if has_cuda else None,
        count.value if has_count else 0,
    )


def _loaded_driver(file: Path = DRIVER_FILE) -> str | None:
    """Version of the driver's kernel module; None where none is loaded."""
    with suppress(OSError):
        found = re.search(r"Kernel Module.*?\s(\d+\.\d+(?:\.\d+)?)\s", file.read_text())
        return found[1] if found else None
    return None


def _num_device_files(folder: Path = DEVICES) -> int:
    with suppress(OSError):
        return sum(bool(re.fullmatch(r"nvidia\d+", entry.name)) for entry in folder.iterdir())
    return 0


def _is_on_bus(folder: Path = BUS) -> bool:
    with suppress(OSError):
        for device in folder.iterdir():
            with suppress(OSError):
                is_display = (device / "class").read_text().startswith(DISPLAY_CLASS)
                if is_display and (device / "vendor").read_text().strip() == NVIDIA:
                    return True
    return False
