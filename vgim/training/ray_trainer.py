"""Ray Train's trainer for a run, without the processes that the run has no use for.

Each process that Ray Train starts imports Ray, which takes seconds of a core. Ray's controller imports this file, so
that it imports nothing else of vgim.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ray.train.backend import BackendConfig
from ray.train.v2._internal.callbacks import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2._internal.execution.scaling_policy import FixedScalingPolicy
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer


def ray_trainer(
    train_worker: Callable[[], None], *, alone: bool, private: bool, backend: str, **options: Any
) -> DataParallelTrainer:
    """A trainer that runs `train_worker` in each worker.

    Args:
        train_worker: Called without arguments.
        alone: Whether there is one worker, which averages its gradients with nobody.
        private: Whether the workers run on a private Ray that ends with this process.
        backend: Of torch.distributed: nccl or gloo.
        options: Other arguments of Ray's trainer.
    """
    if alone:
        backend_config = BackendConfig()  # a TorchConfig would make the controller import torch
    else:
        from vgim.training.ray_torch import CheckedTorchConfig

        backend_config = CheckedTorchConfig(backend=backend)
    trainer = _PrivateTrainer if private else _Trainer
    return trainer(train_worker, backend_config=backend_config, **options)


class _Trainer(DataParallelTrainer):  # type: ignore[misc]
    unused: tuple[type, ...] = (
        DatasetsCallback,
    )  # an actor that hands out Ray Data's datasets, of which we give none

    def _create_default_callbacks(self) -> list[Any]:
        return [c for c in super()._create_default_callbacks() if not isinstance(c, self.unused)]


class _PrivateTrainer(_Trainer):
    # The cleaner frees the workers' resources for others when the controller dies. Here there are no others.
    unused = (DatasetsCallback, PlacementGroupCleanerCallback)

    def _initialize_and_run_controller(self, **arguments: Any) -> Any:
        policy = _WithoutAutoscaler(self.scaling_config)
        return super()._initialize_and_run_controller(**{**arguments, "scaling_policy": policy})


class _WithoutAutoscaler(FixedScalingPolicy):  # type: ignore[misc]
    """A fixed number of workers, which no autoscaler is told about."""

    def after_controller_start(self, train_run_context: Any) -> None:
        pass

    def _maybe_send_resource_request(self) -> None:
        pass

    def _cancel_resource_request(self) -> None:
        pass
