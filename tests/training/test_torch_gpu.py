"""Runs on machines whose GPU torch cannot use: an error under cuda, a line and the CPU under auto."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import torch

from tests.cluster.test_gpu import AGREES, NO_DRIVER, OLD_DRIVER
from tests.ray_cluster import RayCluster
from tests.training.cases import records, run_location, state_of
from vgim.cluster.gpu import GpuFacts
from vgim.config import ResolvedConfig
from vgim.config.schema import ClusterConfig
from vgim.errors import ConfigError
from vgim.progress import MessagesOnly
from vgim.training import on_ray, torch_gpu
from vgim.training.torch_gpu import device_here, make_current, require_gpu
from vgim.training.trainer import train

Maker = Callable[..., ResolvedConfig]
NOTHING = GpuFacts("2.14.1+cu130", "13.0")
TORCHS_OWN = "Found no NVIDIA driver on your system"


@pytest.fixture
def no_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise RuntimeError(TORCHS_OWN)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "init", refuse)


def test_a_gpu_without_an_index_stays_the_current_one(monkeypatch: pytest.MonkeyPatch) -> None:
    # `cluster.workers=0` trains on such a device, which torch's `set_device` refuses.
    made_current = []
    torchs_own = torch.cuda.set_device

    def set_device(device: torch.device) -> None:
        made_current.append(device)
        if device.index is None:
            torchs_own(device)

    monkeypatch.setattr(torch.cuda, "set_device", set_device)
    for name in ("cpu", "cuda", "cuda:1"):
        make_current(torch.device(name))
    assert made_current == [torch.device("cuda:1")]


def test_cuda_is_refused_for_the_reason_that_the_machine_gives(no_cuda: None) -> None:
    cuda = ClusterConfig(device="cuda")
    for facts, reason in (
        (OLD_DRIVER, r"driver 550\.54\.15 supports CUDA 12\.4; update the driver"),
        (NO_DRIVER, "an NVIDIA GPU is here but no driver"),
        (AGREES, f"{TORCHS_OWN}\\); check that `nvidia-smi` works"),
        (replace(AGREES, visible=""), "hides every GPU"),
        (NOTHING, "torch finds no GPU here"),
        (replace(AGREES, is_rocm=True), "torch finds no GPU here"),
    ):
        with pytest.raises(ConfigError, match=reason):
            device_here(cuda, facts)


def test_auto_says_why_a_gpu_idles_and_nothing_where_there_is_none(no_cuda: None) -> None:
    auto = ClusterConfig(device="auto")
    device, line = device_here(auto, OLD_DRIVER)
    assert device == "cpu"
    assert line is not None
    assert line.startswith("training on the CPU although this machine has a GPU: torch 2.14.1+cu130")
    assert device_here(auto, NOTHING) == ("cpu", None)
    assert device_here(auto, replace(AGREES, visible="-1")) == ("cpu", None)
    assert device_here(ClusterConfig(device="cpu"), OLD_DRIVER) == ("cpu", None)


def test_a_gpu_that_torch_can_use_is_used_whatever_the_facts_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for device in ("auto", "cuda"):
        assert device_here(ClusterConfig(device=device), OLD_DRIVER) == ("cuda", None)
    require_gpu("10.0.0.4", OLD_DRIVER)


def test_a_run_in_this_process_says_it_on_the_console_and_in_its_log(
    no_cuda: None, tiny_config: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch_gpu, "read_gpu_facts", lambda: OLD_DRIVER)
    resolved = tiny_config("cluster.workers=0", "cluster.device=auto", "train.max_steps=1")
    said: list[str] = []
    assert train(resolved, progress=MessagesOnly(said.append)) == 0
    events = [record["message"] for record in records(run_location(resolved.config), "event")]
    for heard in (said, events):
        assert sum("driver 550.54.15 supports CUDA 12.4" in message for message in heard) == 1
    with pytest.raises(ConfigError, match="update the driver to 580"):
        train(tiny_config("cluster.workers=0", "cluster.device=cuda", "storage.name=asked"))


def test_a_private_ray_is_not_started_where_cuda_cannot_be_used(
    tiny_config: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("Ray was started")

    monkeypatch.setattr("vgim.cluster.gpu.read_gpu_facts", lambda: OLD_DRIVER)
    monkeypatch.setattr(on_ray, "starts_private", lambda address: True)
    monkeypatch.setattr(on_ray, "ensure_ray", refuse)
    with pytest.raises(ConfigError, match=r"driver 550\.54\.15 supports CUDA 12\.4"):
        train(tiny_config("cluster.workers=2", "cluster.device=cuda"))


@pytest.fixture(scope="module")
def gpus_of_ray(ray_cluster: RayCluster) -> Iterator[None]:
    """A node with two GPUs that exist in Ray's books alone."""
    ray_cluster.add_nodes(1, num_cpus=4, num_gpus=2)
    yield
    ray_cluster.remove_nodes()


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="workers would train on the GPU that is here")
@pytest.mark.parametrize(("workers", "device"), [(1, "cuda"), (2, "auto")])
def test_a_rank_names_its_node_where_torch_cannot_use_the_gpu_of_ray(
    gpus_of_ray: None, tiny_config: Maker, workers: int, device: str
) -> None:
    resolved = tiny_config(f"cluster.workers={workers}", f"cluster.device={device}")
    with pytest.raises(
        ConfigError, match=r"^a worker on \d+\.\d+\.\d+\.\d+ was given a GPU that it cannot use: torch"
    ):
        train(resolved)
    state, message = state_of(resolved.config)
    assert state == "failed"
    assert message.endswith("or use cluster.device=cpu")
