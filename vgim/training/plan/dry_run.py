"""`vgim train --dry-run`: what a training would be and do, in lines; nothing is started and no folder is written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from vgim.cluster.connect import ensure_ray, starts_private
from vgim.cluster.gpu import gpus_before_torch, read_gpu_facts
from vgim.cluster.placement import Placement
from vgim.cluster.working_dir import refuse_job_folder
from vgim.config import ResolvedConfig, RunConfig
from vgim.data.shards.cache import check_cache_dir, describe_cache
from vgim.data.shards.check import check_shards_present
from vgim.data.shards.manifest import is_complete, read_manifest
from vgim.model.precision import set_precision
from vgim.model.stack import Encoder, build_encoder
from vgim.progress import SILENT, Progress
from vgim.schedules.stages import Stage
from vgim.storage import Location
from vgim.text import format_clock, numbered, plural
from vgim.training.greedy import check_exchange
from vgim.training.job import TrainJob
from vgim.training.memory import check_scores_fit
from vgim.training.passes import run_as_graph
from vgim.training.plan.in_folder import what_would_happen
from vgim.training.plan.process_memory import process_memory, resident_bytes
from vgim.training.plan.rank_memory import MORE, RankMemory, bytes_of, memory_of_rank, pass_bytes
from vgim.training.plan.rates import (
    StepsAhead,
    gpu_bill,
    not_measured,
    planned_stream,
    refuse_price_of_cpus,
    steps_of_phase,
    training_time,
)
from vgim.training.plan.workers import (
    Resources,
    describe_placement,
    place_run,
    private_resources,
)
from vgim.training.progress import Progress as Position
from vgim.training.progress import phases, remaining, schedule_of
from vgim.training.stages.mesh import describe_stages, leaves_a_choice, plan_stages
from vgim.training.torch_gpu import device_here
from vgim.training.trainer import (
    check_sources,
    check_validation,
    config_to_train,
    greedy_learner,
    run_location,
)


def dry_run(
    resolved: ResolvedConfig,
    *,
    resume_from: str | None = None,
    init_from: str | None = None,
    address: str | None = None,
    verbose: bool = False,
    price_per_gpu_hour: float | None = None,
    progress: Progress = SILENT,
) -> None:
    """Say what `vgim.training.trainer.train` with these arguments would be and do.

    Args:
        price_per_gpu_hour: price of one GPU for an hour, in any currency.
        progress: where to say it; for the other arguments see `train`.

    Raises:
        VgimError: `train` would refuse it, for the same reason; or there is a price of GPUs, and none are used.
    """
    config = config_to_train(resolved.config, resume_from, init_from)
    job = TrainJob(
        config=config,
        run=run_location(config).uri,
        learner=greedy_learner,
        resume_from=resume_from,
        init_from=init_from,
    )
    refuse_job_folder("storage.root", config.storage.root)
    refuse_job_folder("data.shards", config.data.shards)
    check_cache_dir(config.data)
    say = progress.message
    shards = Location(config.data.shards)
    is_unmade = config.data.synthetic is not None and not is_complete(shards)
    start = Position()
    if not is_unmade:
        manifest = read_manifest(shards)
        check_shards_present(shards, manifest)
        check_validation(config, shards, manifest)
        found = what_would_happen(job, config, manifest.fingerprint)
        check_sources(job, Location(job.run), manifest)
        start = found.start
        for line in found.lines:
            say(line)
        if config.data.cache_dir:
            say(describe_cache(manifest, config.data)[0])
    placement, lines = _placement(config, address, verbose, progress)
    gpus = (placement.workers if placement is not None else 1) if _on_gpu(config, placement) else 0
    refuse_price_of_cpus(price_per_gpu_hour, gpus, "workers")
    for line in lines:
        say(line)
    if config.rate_note is not None:
        say(f"rate: {config.rate_note}")
    encoder = _encoder(config, on_gpu=gpus > 0)
    stages = _stages(config, encoder)
    check_exchange(encoder, config.num_virtual_ranks, _fewest_ranks(config, stages))
    if schedule_of(config).has_stages:
        say(_stages_in_words(config, stages))
    window_bytes = 0
    if is_unmade:
        say(
            f"shards: {shards.uri} is made first, from the embedded corpus; until then the folder's state, the steps, "
            f"the time and the money are unknown: run it once with train.max_steps=1, or `vgim data prepare`"
        )
        say(_step_in_words(config, None))
    else:
        stream = planned_stream(config)
        steps_in_epoch, window_bytes = stream.num_steps(0), stream.window_bytes()
        if short := stream.left_out():
            say(f"data: {short}")
        say(_step_in_words(config, steps_in_epoch))
        for line in _time_in_words(config, start, steps_in_epoch, gpus, price_per_gpu_hour):
            say(line)
    for line in _memory_in_words(config, encoder, stages, gpus, window_bytes, progress):
        say(line)
    say("nothing was started or written")


def _placement(
    config: RunConfig, address: str | None, verbose: bool, progress: Progress
) -> tuple[Placement | None, list[str]]:
    """The placement of the workers, None without workers, and lines on it."""
    cluster = config.cluster
    if not cluster.max_workers:
        device, idle_gpu = device_here(cluster)
        threads = (
            cluster.threads_per_worker if cluster.threads_per_worker != "auto" else torch.get_num_threads()
        )
        line = f"placement: in this process, without Ray; device {device}, {plural(threads, 'torch thread')}"
        return None, [line, *([idle_gpu] if idle_gpu else [])]
    if starts_private(address):
        idle_gpu = gpus_before_torch(cluster)
        resources = dict(private_resources(cluster, read_gpu_facts()))
        if idle_gpu is not None:
            resources["GPU"] = 0.0
        placement, warning = place_run(cluster, resources, private=True)
        notes = [note for note in (idle_gpu, warning) if note is not None]
        return placement, [*describe_placement(cluster, placement, [resources], None), *notes]
    ensure_ray(address=address, verbose=verbose, progress=progress)
    import ray

    nodes: list[Resources] = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    placement, warning = place_run(cluster, ray.cluster_resources(), private=False)
    lines = describe_placement(cluster, placement, nodes, ray.available_resources())
    return placement, [*lines, *([warning] if warning else [])]


def _on_gpu(config: RunConfig, placement: Placement | None) -> bool:
    return placement.use_gpu if placement is not None else device_here(config.cluster)[0] == "cuda"


def _encoder(config: RunConfig, *, on_gpu: bool) -> Encoder:
    """The encoder, refused where `GreedyLearner` refuses it."""
    encoder = build_encoder(config.model, config.objective, config.train.seed)
    encoder.check_crop(config.data.crop_samples)
    if not on_gpu:
        check_scores_fit(encoder, config)
    return encoder


def _stages(config: RunConfig, encoder: Encoder) -> tuple[Stage, ...] | None:
    """The stages, if the config decides them; None if they are measured at the start, or there are none."""
    train, workers = config.train, config.cluster.max_workers
    if not schedule_of(config).has_stages:
        return None
    # With equal costs too, this refuses what no costs could place.
    planned = plan_stages(
        train,
        [1.0] * len(encoder),
        workers,
        config.num_virtual_ranks,
        exchanging=encoder.ranks_communicate,
    )
    return None if leaves_a_choice(train, workers) else planned


def _fewest_ranks(config: RunConfig, stages: tuple[Stage, ...] | None) -> int:
    """Ranks among which the virtual ranks are divided: of the smallest stage, where there are stages."""
    if stages is not None:
        return min(len(stage.ranks) for stage in stages)
    if schedule_of(config).has_stages:
        return config.num_virtual_ranks  # the start decides, and refuses them itself
    return max(1, config.cluster.min_workers)


def _stages_in_words(config: RunConfig, stages: tuple[Stage, ...] | None) -> str:
    if stages is not None:
        return f"stages: {describe_stages(stages)}"
    train = config.train
    known = ""
    if train.placement != "auto":
        stages_asked = "; ".join(numbered("module", modules) for modules in train.placement)
        known = f" {plural(len(train.placement), 'stage')} of {stages_asked},"
    elif train.replicas:
        known = f" {plural(len(train.replicas), 'stage')} of {list(train.replicas)} ranks,"
    return (
        f"stages:{known} balanced when the run starts, by the time that each module's pass takes on rank 0's device; "
        "its log names them; train.placement and train.replicas decide them before"
    )


def _step_in_words(config: RunConfig, steps_in_epoch: int | None) -> str:
    train, num_virtual = config.train, config.num_virtual_ranks
    crops = num_virtual * train.batch_size * train.accumulate
    factors = [plural(num_virtual, "virtual rank"), plural(train.batch_size, "crop")]
    factors += [f"{train.accumulate} micro-batches"] if train.accumulate > 1 else []
    line = f"step: {' x '.join(factors)} = {crops} crops of {config.data.crop_samples} samples"
    if steps_in_epoch is None:
        return line
    own = phases(config)
    about = "about " if config.data.crop == "tile" else ""
    total = sum(steps_of_phase(config, phase.epochs, steps_in_epoch) for phase in own)
    line += f"; {about}{steps_in_epoch:,} steps an epoch, {about}{total:,} in all"
    if len(own) > 1:
        line += f" over {len(own)} phases"
    if train.early_stop_validations:
        line += ", fewer if train.early_stop_validations ends a phase"
    return line


def _steps_ahead(config: RunConfig, start: Position, steps_in_epoch: int) -> Iterator[StepsAhead]:
    """The steps of each phase that is not done at `start`."""
    start = start.within(steps_in_epoch)
    for phase in remaining(start, config):
        steps = steps_of_phase(config, phase.epochs, steps_in_epoch)
        if phase.number == start.phase:
            by_epochs = (phase.epochs - start.phase_epoch) * steps_in_epoch - start.step_in_epoch
            most = config.train.max_steps
            steps = min(by_epochs, most - start.phase_step) if most else by_epochs
        yield StepsAhead(config, phase.modules, max(steps, 0))


def _time_in_words(
    config: RunConfig, start: Position, steps_in_epoch: int, gpus: int, price_per_gpu_hour: float | None
) -> Iterator[str]:
    ahead = list(_steps_ahead(config, start, steps_in_epoch))
    left = sum(phase.steps for phase in ahead)
    if not left:
        yield "time: nothing is left to train"
        return
    time = training_time(ahead, [Location(config.storage.root)], on_gpu=gpus > 0)
    if time is None:
        yield f"time: {left:,} steps are left; {not_measured(gpus > 0)}"
        return
    yield (
        f"time: {left:,} steps are left, {format_clock(time.seconds)} at step rates measured on "
        f"{', '.join(time.devices)}, {left / time.seconds:,.3g} steps a second"
    )
    if gpus:
        yield gpu_bill(time.seconds, gpus, price_per_gpu_hour, "the run")
    assumed = ["the time to start and to validate is not included"]
    if config.cluster.is_elastic:
        assumed.append("there are as many workers as the measured runs had")
    if gpus:
        assumed.append("nor are idle GPUs, the head node and storage")
    yield f"assumed: {'; '.join(assumed)}"


def _memory_in_words(
    config: RunConfig,
    encoder: Encoder,
    stages: tuple[Stage, ...] | None,
    gpus: int,
    window_bytes: int,
    progress: Progress,
) -> Iterator[str]:
    """The memory of each kind of rank, of a process on CPUs, and how it was measured."""
    libraries = resident_bytes() - bytes_of([*encoder.parameters(), *encoder.buffers()])
    with progress.stage("measuring the pass of each module"):
        passes = pass_bytes(encoder.train(), config, set_precision(config.train.precision))
    beside = run_as_graph(
        "cuda" if gpus else "cpu",
        exchanges=gpus > 1 and encoder.ranks_communicate,
        compile_modules=config.train.compile,
        cuda_graphs=config.train.cuda_graphs,
    )
    memories = list(_memories(config, encoder, passes, stages, beside=beside))
    for name, memory in memories:
        yield f"memory{name}: {memory.describe()}"
    if not gpus and libraries > 0:
        largest = max((memory for _, memory in memories), key=lambda memory: memory.total)
        whole = process_memory(largest, libraries=libraries, window_bytes=window_bytes)
        yield f"process{memories[0][0] if len(memories) == 1 else ' of the largest rank'}: {whole.describe()}"
    yield _measured_in_words(config, on_gpu=gpus > 0)


def _measured_in_words(config: RunConfig, *, on_gpu: bool) -> str:
    crops = plural(config.train.batch_size, "crop")
    how = (
        f"passes of {config.train.batch_size}"
        if config.train.batch_size <= MORE
        else f"passes of a few of {crops}"
    )
    if on_gpu:
        return (
            f"measured: {how} on this CPU; torch itself, buffers of libraries and batches read ahead come on top; a "
            "GPU's fused kernels hold less, its convolutions may hold more: `nvidia-smi` shows the whole during "
            "train.max_steps=20"
        )
    return f"measured: {how} and this process, on this machine" + (
        "; Ray itself comes on top" if config.cluster.max_workers else ""
    )


def _memories(
    config: RunConfig,
    encoder: Encoder,
    passes: Sequence[int],
    stages: tuple[Stage, ...] | None,
    *,
    beside: bool,
) -> Iterator[tuple[str, RankMemory]]:
    """The memory of each kind of rank, with words on which."""
    everything = range(len(encoder))
    if stages is not None:
        for stage in stages:
            ranks = f" of a rank with {numbered('module', stage.modules)}"
            yield ranks, memory_of_rank(encoder, passes, stage.modules, [stage.modules], beside=beside)
        return
    if schedule_of(config).has_stages:
        memory = memory_of_rank(encoder, passes, everything, [everything], beside=beside)
        yield " of a rank, at most (a stage trains some of the modules)", memory
        return
    own = phases(config)
    trained = sorted({m for phase in own for m in phase.modules})
    at_once = [phase.modules for phase in own]
    yield " of a rank", memory_of_rank(encoder, passes, trained, at_once, beside=beside)
