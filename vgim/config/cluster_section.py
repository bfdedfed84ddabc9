"""The section that says where training runs and with how many workers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from vgim.config.section import MAX_BATCH, MAY_CHANGE, Section

AutoOrThreads = Annotated[int, Field(ge=1, le=1024)] | Literal["auto"]
WorkerRange = Annotated[str, Field(pattern=r"^[0-9]{1,5}\.\.[0-9]{1,5}$")]
"""Fewest and most workers, as `2..8`."""
WORKERS_IN_WORDS = "an integer at least 0, or a range such as 2..8"


class ClusterConfig(Section):
    """Where training runs. Of these keys only `workers` changes results, because its maximum multiplies the batch."""

    workers: Annotated[int, Field(ge=0, le=MAX_BATCH)] | WorkerRange = Field(
        1,
        json_schema_extra={**MAY_CHANGE, "in_words": WORKERS_IN_WORDS},
    )
    """Workers, each one a DDP rank; 0 trains in this process, without Ray. MIN..MAX: as many as the cluster has
    room for, which take the steps of MAX workers."""
    device: Literal["auto", "cpu", "cuda"] = Field("auto", json_schema_extra=MAY_CHANGE)
    """auto: one GPU per worker, or CPUs where there is no GPU; GPUs for a part of the workers are an error."""
    backend: Literal["auto", "gloo", "nccl"] = Field("auto", json_schema_extra=MAY_CHANGE)
    """auto: nccl on GPUs, gloo on CPUs."""
    cpus_per_worker: Annotated[float, Field(gt=0, le=MAX_BATCH)] | Literal["auto"] = Field(
        "auto", json_schema_extra=MAY_CHANGE
    )
    """Logical CPUs that Ray reserves per worker; auto leaves enough for Ray Data, which reads the shards."""
    threads_per_worker: AutoOrThreads = Field("auto", json_schema_extra=MAY_CHANGE)
    """torch threads per worker; auto divides a node's cores among its workers."""
    autoscaling: bool = Field(False, json_schema_extra=MAY_CHANGE)
    """Whether the cluster adds nodes on demand, so that workers may need more than it has now. Needs `device` cuda or
    cpu, since GPUs of nodes that do not exist yet cannot be counted."""
    max_failures: int = Field(3, ge=0, le=1_000_000, json_schema_extra=MAY_CHANGE)
    """Number of times that lost workers are replaced before the run fails."""
    start_timeout_s: int = Field(300, ge=10, le=10**7, json_schema_extra=MAY_CHANGE)
    """Seconds to wait for the cluster to offer the workers' resources."""
    stop_grace_s: float = Field(60.0, ge=0, le=1e6, json_schema_extra=MAY_CHANGE)
    """Seconds after SIGINT, SIGTERM or SIGHUP in which the checkpoint of the current step must be written; 0 stops at
    once."""

    @model_validator(mode="after")
    def _range_has_a_meaning(self) -> ClusterConfig:
        if self.min_workers > self.max_workers:
            raise ValueError(
                f"workers={self.workers} has its larger number first; write workers="
                f"{self.max_workers}..{self.min_workers}"
            )
        if isinstance(self.workers, str) and self.min_workers < 1:
            raise ValueError(
                f"workers={self.workers} needs at least one worker; write workers=1..{self.max_workers}, or "
                "workers=0 to train in this process"
            )
        if self.is_elastic and self.cpus_per_worker != "auto" and not self.cpus_per_worker.is_integer():
            raise ValueError(
                f"workers={self.workers} needs whole CPUs, and cpus_per_worker={self.cpus_per_worker:g} is a part of "
                "one; use auto for one CPU per worker, or an integer"
            )
        return self

    @model_validator(mode="after")
    def _device_is_known(self) -> ClusterConfig:
        if self.autoscaling and self.device == "auto":
            raise ValueError(
                "autoscaling=true needs to know what to ask for; set device=cuda for one GPU per worker, or device=cpu"
            )
        return self

    @property
    def min_workers(self) -> int:
        """The fewest workers that train; `workers` itself where it is a number."""
        return self.workers if isinstance(self.workers, int) else int(self.workers.partition("..")[0])

    @property
    def max_workers(self) -> int:
        """The most workers that train, whose batches together are the batch of a step; 0 for none."""
        return self.workers if isinstance(self.workers, int) else int(self.workers.partition("..")[2])

    @property
    def is_elastic(self) -> bool:
        """Whether the number of workers may change while the run trains."""
        return self.min_workers < self.max_workers
