"""Everything that can be known, and refused, before an experiment's first step: data, labels, runs in the folder."""

from __future__ import annotations

from vgim.cluster.working_dir import refuse_job_folder
from vgim.config import RunConfig, blocking_difference
from vgim.data.shards.check import check_shards_present
from vgim.data.shards.manifest import Manifest, read_manifest
from vgim.downstream.context import probe_of
from vgim.errors import ConfigError, StorageError, VgimError
from vgim.experiment.folder import ExperimentFolder
from vgim.experiment.plan import Experiment, PlannedProbe, PlannedRun
from vgim.runs.checkpoint import complete_checkpoints
from vgim.runs.folder import RunFolder
from vgim.runs.layout import CONFIG
from vgim.storage import Location
from vgim.training.trainer import ensure_data, is_complete_run


def check_experiment(experiment: Experiment) -> None:
    """Check shards, labels and the runs that the folder holds; make the embedded corpus where it is asked for.

    Raises:
        VgimError: The experiment cannot be run, or is being run.
    """
    refuse_job_folder("--out", experiment.folder.uri)
    check_runs(experiment)
    manifests: dict[str, Manifest] = {}
    for run in experiment.runs:
        if run.config.data.shards not in manifests:
            refuse_job_folder("data.shards", run.config.data.shards)
            manifests[run.config.data.shards] = _read(ensure_data(run.config))
        if (
            RunFolder(run.location).readable_record() is not None
        ):  # else the run's launch mends it, and checks
            RunFolder(run.location).check(run.config, manifests[run.config.data.shards].fingerprint)
    for planned in experiment.probes:
        for run in experiment.runs:
            if run.arm in planned.arms:
                shards = planned.options.shards or run.config.data.shards
                if shards not in manifests:
                    refuse_job_folder("shards", shards)
                    manifests[shards] = _read(Location(shards))
                _check_probe(planned, run, Location(shards), manifests[shards])


def check_runs(experiment: Experiment) -> None:
    """Refuse to continue runs that were trained with other settings.

    Raises:
        ConfigError: The message names the runs and the differences.
        TrainingError: A live process is working on the experiment.
    """
    ExperimentFolder(experiment.folder).check_free()
    changed = []
    for run in experiment.runs:
        before = _readable_config(run)
        if before is None or not complete_checkpoints(run.location):
            continue  # nothing was trained yet, so other settings lose nothing
        if differences := blocking_difference(before, run.config):
            changed.append(f"{run.name} ({'; '.join(differences)})")
    if changed:
        raise ConfigError(
            f"the experiment {experiment.folder.uri} has runs that were trained with other settings: "
            f"{', '.join(changed)}; set them as they were, delete these runs, or give --out another folder"
        )


def is_finished(run: PlannedRun) -> bool:
    """Whether nothing of a run is left to train."""
    record = RunFolder(run.location).readable_record()
    return record is not None and record.state == "finished" and is_complete_run(run.location, run.config)


def _readable_config(run: PlannedRun) -> RunConfig | None:
    """The config of a run's folder; None also where it is damaged, which the run's launch mends."""
    try:
        return RunFolder(run.location).config()
    except (ConfigError, StorageError):
        run.location.child(CONFIG).read_bytes()  # storage that cannot be read is no damage
        return None


def _read(shards: Location) -> Manifest:
    manifest = read_manifest(shards)
    check_shards_present(shards, manifest)
    return manifest


def _check_probe(planned: PlannedProbe, run: PlannedRun, shards: Location, manifest: Manifest) -> None:
    """Refuse a probe that the arm or the shards have no use for."""
    options, model = planned.options, run.config.model
    fix = "leave it out, or give the block runs: [...] without this one"
    if options.sampled and model.family != "sim":
        raise ConfigError(f"probes: sampled=true, but run {run.arm} has no posterior; {fix}")
    if "greedy-supervised" in options.encoders and model.num_modules == 1:
        raise ConfigError(
            f"probes: encoders has greedy-supervised, but run {run.arm} is one module, for which supervised is the "
            f"same; {fix}"
        )
    try:
        probe_of(options, shards, manifest)
    except VgimError as error:
        raise type(error)(f"probes: {error}") from None
