"""Checks that torch can use the GPUs that a run would train on, and makes a rank's GPU the current one."""

from __future__ import annotations

import torch

from vgim.cluster.gpu import GpuFacts, asked_for_a_gpu, gpu_problem, idle_gpu, read_gpu_facts
from vgim.config.schema import ClusterConfig
from vgim.errors import ConfigError
from vgim.text import first_line

NO_GPU = "cluster.device=cuda but torch finds no GPU here; use cluster.device=auto or cpu"


def device_here(cluster: ClusterConfig, facts: GpuFacts | None = None) -> tuple[str, str | None]:
    """The device of a training in this process, and a sentence for the log if a GPU stays unused.

    Args:
        facts: what the machine says; None reads it.

    Raises:
        ConfigError: `cluster.device=cuda`, and torch can use no GPU.
    """
    if cluster.device == "cpu":
        return "cpu", None
    if torch.cuda.is_available():
        return "cuda", None
    facts = facts or read_gpu_facts()
    if cluster.device == "cuda":
        is_known = facts.has_gpu or facts.driver is not None or facts.is_hidden
        raise ConfigError(
            asked_for_a_gpu(gpu_problem(facts, torch_error())) if is_known and not facts.is_rocm else NO_GPU
        )
    return "cpu", idle_gpu(gpu_problem(facts, torch_error())) if facts.has_gpu else None


def require_gpu(node: str, facts: GpuFacts | None = None) -> None:
    """Refuse to train on a rank that has a GPU by Ray's count, which its torch cannot use.

    Args:
        node: the rank's machine, as the user knows it.
        facts: what the machine says; None reads it.

    Raises:
        ConfigError: torch cannot use a GPU.
    """
    if torch.cuda.is_available():
        return
    problem = gpu_problem(facts or read_gpu_facts(), torch_error())
    raise ConfigError(
        f"a worker on {node} was given a GPU that it cannot use: {problem}; or use cluster.device=cpu"
    )


def make_current(device: torch.device) -> None:
    """Make a rank's GPU the current device, on which CUDA graphs and Triton's kernels run.

    A device without an index is the current one already, and torch refuses to set it.
    """
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)


def torch_error() -> str:
    """What torch says of its failure to use a GPU."""
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]
    except (RuntimeError, AssertionError) as error:
        return first_line(error)
    return "it counts none"
