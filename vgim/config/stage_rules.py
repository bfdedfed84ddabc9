"""What a config's stages must fulfil under a schedule that has stages, and which keys have no effect under others."""

from __future__ import annotations

from collections.abc import Iterator

from vgim.config.cluster_section import ClusterConfig
from vgim.config.train_sections import TrainConfig
from vgim.schedules.registry import SCHEDULES, names_of_schedules
from vgim.schedules.stages import is_in_order
from vgim.text import plural


def num_virtual_ranks(train: TrainConfig, cluster: ClusterConfig) -> int:
    """Virtual ranks of a run: the parts of a step's batch."""
    return train.virtual_ranks or max(1, cluster.max_workers)


def check_virtual_ranks(train: TrainConfig, cluster: ClusterConfig) -> None:
    """Refuse ranks that would have nothing to do.

    Raises:
        ValueError: there are fewer virtual ranks than ranks that train the same modules.
    """
    if not train.virtual_ranks or SCHEDULES[train.schedule].has_stages:
        return
    if train.virtual_ranks < cluster.max_workers:
        raise ValueError(
            f"train.virtual_ranks={train.virtual_ranks} leaves some of cluster.workers={cluster.workers} without work; "
            f"raise it to {cluster.max_workers}, or lower cluster.workers"
        )


def check_stages(train: TrainConfig, cluster: ClusterConfig, num_modules: int) -> None:
    """Refuse stages that modules and workers do not make, and keys of stages under a schedule without them.

    Raises:
        ValueError: says which key, and what to set.
    """
    name = train.schedule
    if not SCHEDULES[name].has_stages:
        for key in _set_keys(train):
            others = names_of_schedules(lambda other: other.has_stages)
            raise ValueError(
                f"train.{key} has no effect under train.schedule={name}; leave it out or use {others}"
            )
        return
    placement, replicas = train.placement, train.replicas
    if cluster.is_elastic:
        raise ValueError(
            f"train.schedule={name} gives workers stages of their own, which needs a fixed number of them; use "
            f"cluster.workers={cluster.max_workers}"
        )
    if cluster.max_workers < 2:
        raise ValueError(
            f"train.schedule={name} needs at least two workers, and cluster.workers={cluster.workers}; set "
            "cluster.workers=2 or more, or use train.schedule=joint"
        )
    if placement != "auto" and not is_in_order(placement, num_modules):
        raise ValueError(
            f"train.placement={_flow(placement)} does not name each of modules 0 to {num_modules - 1} once, in "
            f"ascending order; for example, {_flow((tuple(range(1)), tuple(range(1, num_modules))))}"
        )
    num_stages = len(replicas) if placement == "auto" else len(placement)
    if replicas and len(replicas) != num_stages:
        raise ValueError(
            f"train.replicas={list(replicas)} has {plural(len(replicas), 'number')} but train.placement has "
            f"{num_stages} stages; give one for each"
        )
    if replicas and not 2 <= num_stages <= num_modules:
        raise ValueError(
            f"train.replicas={list(replicas)} makes {plural(num_stages, 'stage')} of {num_modules} modules; give at "
            f"least 2 and at most {num_modules} entries"
        )
    if replicas and sum(replicas) != cluster.max_workers:
        raise ValueError(
            f"train.replicas={list(replicas)} places {sum(replicas)} ranks and cluster.workers={cluster.workers}; set "
            f"cluster.workers={sum(replicas)}"
        )
    if placement != "auto" and num_stages > cluster.max_workers:
        raise ValueError(
            f"train.placement={_flow(placement)} has {num_stages} stages for cluster.workers={cluster.workers}; give "
            f"each stage a worker: cluster.workers={num_stages} or more"
        )
    num_virtual = num_virtual_ranks(train, cluster)
    if replicas and max(replicas) > num_virtual:
        raise ValueError(
            f"train.replicas={list(replicas)} has a stage of {max(replicas)} ranks for "
            f"train.virtual_ranks={num_virtual}, which leaves some without work; raise train.virtual_ranks to "
            f"{max(replicas)}"
        )
    most = (num_stages or num_modules) * num_virtual
    if cluster.max_workers > most:
        raise ValueError(
            f"cluster.workers={cluster.workers} is more than {most}, which train.virtual_ranks={num_virtual} ranks in "
            f"each of {num_stages or num_modules} stages are; raise train.virtual_ranks or lower cluster.workers"
        )


def check_exchanging_stages(train: TrainConfig, cluster: ClusterConfig, num_modules: int, key: str) -> None:
    """Refuse stages of which a rank does the work of several virtual ranks, where these exchange tensors.

    Args:
        key: the key, with its value, for which virtual ranks exchange tensors within a micro-batch.

    Raises:
        ValueError: says how many ranks a stage needs.
    """
    if not SCHEDULES[train.schedule].has_stages:
        return
    num_virtual = num_virtual_ranks(train, cluster)
    num_stages, rest = divmod(cluster.max_workers, num_virtual)
    if train.placement != "auto":
        fits = num_stages == len(train.placement)
    else:
        fits = 2 <= num_stages <= num_modules
    if fits and not rest and all(size == num_virtual for size in train.replicas):
        return
    asked = len(train.replicas) if train.placement == "auto" else len(train.placement)
    stages = asked or max(2, min(num_stages, num_modules))
    raise ValueError(
        f"{key} exchanges tensors within a micro-batch, for which each stage needs a rank for each of "
        f"{plural(num_virtual, 'virtual rank')}; set cluster.workers={stages * num_virtual} "
        f"train.virtual_ranks={num_virtual} and train.replicas={[num_virtual] * stages}"
    )


def _set_keys(train: TrainConfig) -> Iterator[str]:
    """Keys of stages that do not have their default, with their values."""
    if train.placement != "auto":
        yield f"placement={_flow(train.placement)}"
    if train.replicas:
        yield f"replicas={list(train.replicas)}"
    for key in ("transfer_dtype", "transfer_buffers"):
        if (value := getattr(train, key)) != TrainConfig.model_fields[key].default:
            yield f"{key}={value}"


def _flow(placement: tuple[tuple[int, ...], ...]) -> str:
    return str([list(modules) for modules in placement])
