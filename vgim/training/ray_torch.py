"""Ray Train's process group of torch, made only where every worker can use the GPU that Ray gave it."""

from __future__ import annotations

from typing import Any

from ray.train.torch import TorchConfig
from ray.train.torch.config import _TorchBackend


class CheckedTorchConfig(TorchConfig):  # type: ignore[misc]
    """A TorchConfig whose workers look at their GPUs first: nccl would only say that it finds none."""

    @property
    def backend_cls(self) -> type:
        return _CheckedTorchBackend


class _CheckedTorchBackend(_TorchBackend):  # type: ignore[misc]
    def on_start(self, worker_group: Any, backend_config: TorchConfig) -> None:
        if worker_group.get_resources_per_worker().get("GPU", 0):
            worker_group.execute(check_gpu)
        super().on_start(worker_group, backend_config)


def check_gpu() -> None:
    """Raise a ConfigError in a worker that cannot use its GPU."""
    import ray.util

    from vgim.training.torch_gpu import require_gpu

    require_gpu(ray.util.get_node_ip_address())
