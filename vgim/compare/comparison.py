"""Runs beside one another, as typed data: what each is, cost, learned, and what its probes found.

Only reads what training and probes left; nothing is computed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from pydantic import ValidationError

from vgim.config import RunConfig
from vgim.downstream.few_labels.result import LimitedResult
from vgim.downstream.result import SUPERVISED_EPOCHS, Interval, ProbeResult, ResultModel, unusual_options
from vgim.errors import CheckpointError, ConfigError, StorageError, VgimError
from vgim.model.collapse import CHANCE_SHARE, FEWEST_ACTIVE
from vgim.model.losses import chance_of
from vgim.model.stack import build_encoder, module_specs
from vgim.runs.checkpoint import complete_checkpoints
from vgim.runs.folder import RunFolder
from vgim.runs.layout import CONFIG, PROBES, RESULT, STATE
from vgim.runs.listing import summarize_run
from vgim.runs.metrics import MetricsRecord, read_metrics
from vgim.runs.run_names import distinct_names
from vgim.storage import Location
from vgim.text import first_problem

BASELINES = ("mfcc", "random")
"""Those that every probed task is expected to have."""


class ModuleFigures(ResultModel):
    """The latest validation of a module; None for what is not known."""

    module: int
    nce: float | None
    """InfoNCE in nats, without the KL term, so that runs of different weight compare."""
    accuracy: float | None
    kl: float | None
    """Summed over time, the published unit; None for a module without a posterior."""
    kl_per_element: float | None
    active_units: float | None
    collapsed: bool | None
    """InfoNCE at chance and hardly a unit active, as the collapse watch has it."""


class Cost(ResultModel):
    """What training took."""

    step_s: float
    """Seconds in optimizer steps."""
    train_s: float
    """The same, with the time between them; without validation and checkpoints."""
    utterances: int
    """Crops seen, by all workers."""


class ProbeFigures(ResultModel):
    """One probe's result."""

    task: str
    variant: str
    """What was not the default, such as `whole adam`; empty for none. Only equal variants compare."""
    encoder: str
    module: int | None
    layer: int | None
    step: int | None
    accuracy: float
    interval_over_utterances: Interval
    interval_over_seeds: Interval | None
    majority: float
    num_test: int
    data_fingerprint: str


class ComparedRun(ResultModel):
    """One run; None for what it does not tell."""

    name: str
    uri: str
    state: str | None
    family: str
    kld_weight: float
    num_modules: int
    channels: int
    step: int | None
    epoch: float | None
    encoder_parameters: int
    predictor_parameters: int
    """The linear maps of InfoNCE, which are of no use after training."""
    workers: int | None
    device: str | None
    """As its config has it; None for auto."""
    cost: Cost | None
    data_fingerprint: str | None
    chance_nce: float
    """ln(1 + N)."""
    modules: tuple[ModuleFigures, ...]
    probes: tuple[ProbeFigures, ...]


class Comparison(ResultModel):
    """Runs in the order they were asked for, and what a reader has to know of them."""

    runs: tuple[ComparedRun, ...]
    notes: tuple[str, ...]

    def tasks(self) -> list[tuple[str, str]]:
        """Each task and variant that any run was probed on."""
        return list(dict.fromkeys((p.task, p.variant) for run in self.runs for p in run.probes))


def compare(runs: Sequence[str]) -> Comparison:
    """Read what runs left.

    Args:
        runs: Their folders, paths or URIs.

    Raises:
        VgimError: One is no run. What is merely missing or damaged in a run becomes a note.
    """
    places = list(dict.fromkeys(Location(run) for run in runs))
    notes: list[str] = []
    configs = [compared_config(path) for path in places]
    compared = [
        _run(path, name, config, notes)
        for path, name, config in zip(places, distinct_names(places), configs, strict=True)
    ]
    notes += _across(compared, configs)
    return Comparison(runs=tuple(compared), notes=tuple(notes))


def compared_config(path: Location) -> RunConfig:
    """The config of a run that is to be compared.

    Raises:
        VgimError: It is no run, or its config does not read.
    """
    if path.child(STATE).exists():
        raise ConfigError(f"{path.uri} is one checkpoint; name its run")
    config = RunFolder(path).config()
    if config is None:
        raise CheckpointError(f"{path.uri} is no run: it has no {CONFIG}; name a run's folder")
    return config


def _run(path: Location, name: str, config: RunConfig, notes: list[str]) -> ComparedRun:
    folder = RunFolder(path)
    record, summary = None, None
    try:
        record = folder.record()
        summary = summarize_run(folder) if record is not None else None
    except (VgimError, KeyError, TypeError) as error:
        notes.append(f"{name}: its record or metrics cannot be read: {error}")
    metrics: list[MetricsRecord] = []
    try:
        metrics = list(read_metrics(path))
    except VgimError as error:
        notes.append(f"{name}: {error}")
    cost, modules = None, list[ModuleFigures]()
    try:
        cost, modules = _cost(metrics), _modules(config, metrics)
    except (KeyError, TypeError, AttributeError) as error:
        notes.append(
            f"{name}: metrics.jsonl has a record that cannot be read: {type(error).__name__} {error}"
        )
    encoder, predictors = _parameters(config)
    probes = _newest(_results(path, name, notes))
    notes += _of_probes(name, path, probes)
    return ComparedRun(
        name=name,
        uri=path.uri,
        state=summary.state if summary else None,
        family=config.model.family,
        kld_weight=config.objective.kld_weight,
        num_modules=config.model.num_modules,
        channels=config.model.channels,
        step=summary.step if summary else None,
        epoch=summary.epoch if summary else None,
        encoder_parameters=encoder,
        predictor_parameters=predictors,
        workers=record.workers if record else None,
        device=None if config.cluster.device == "auto" else config.cluster.device,
        cost=cost,
        data_fingerprint=record.data_fingerprint if record else None,
        chance_nce=chance_of(config.objective).loss,
        modules=tuple(modules),
        probes=tuple(_figures(result) for result in probes),
    )


def _cost(metrics: Iterable[MetricsRecord]) -> Cost | None:
    """Sums over `train` records, each of which holds means over the steps since the one before."""
    step_s = train_s = utterances = 0.0
    before = 0
    for record in metrics:
        if record["kind"] != "train":
            continue
        steps, before = record["step"] - before, record["step"]
        step_s += steps * record["compute_s"]
        train_s += steps / record["steps_per_s"]
        utterances += steps * record["crops_per_s"] / record["steps_per_s"]
    return Cost(step_s=step_s, train_s=train_s, utterances=round(utterances)) if before else None


def _modules(config: RunConfig, metrics: Iterable[MetricsRecord]) -> list[ModuleFigures]:
    """Each module's latest validation; under some schedules they are of different steps."""
    latest: dict[int, MetricsRecord] = {}
    for record in metrics:
        if record["kind"] == "validation":
            latest.update({m.get("module", n): m for n, m in enumerate(record["modules"])})
    chance = chance_of(config.objective).loss
    found = []
    for module, spec in enumerate(module_specs(config.model)):
        of = latest.get(module, {})
        nce, active = of.get("nce"), of.get("active_units")
        collapsed = None
        if nce is not None and active is not None:
            collapsed = nce >= CHANCE_SHARE * chance and active < FEWEST_ACTIVE
        found.append(
            ModuleFigures(
                module=module,
                nce=nce,
                accuracy=of.get("accuracy"),
                kl=of.get("kl") if spec.posterior else None,
                kl_per_element=of.get("kl_per_element") if spec.posterior else None,
                active_units=active,
                collapsed=collapsed,
            )
        )
    return found


def _parameters(config: RunConfig) -> tuple[int, int]:
    """Of the encoder, and of the predictors."""
    with torch.device("meta"):  # shapes alone
        encoder = build_encoder(config.model, config.objective, config.train.seed)
    predictors = sum(p.numel() for name, p in encoder.named_parameters() if ".nce." in name)
    return sum(p.numel() for p in encoder.parameters()) - predictors, predictors


def _results(path: Location, name: str, notes: list[str]) -> list[ProbeResult]:
    """What can be read below RUN/probes; what cannot is named."""
    found = []
    for folder in path.child(PROBES).list():
        file = path.child(PROBES, folder, RESULT)
        if not file.exists():
            continue
        reason = ""
        try:
            text = file.read_bytes()
            if not _is_study(text):
                found.append(ProbeResult.model_validate_json(text))
        except StorageError as error:
            reason = str(error)
        except ValidationError as error:
            reason = first_problem(error)
        if reason:
            notes.append(
                f"{name}: probes/{folder}/{RESULT} is left out, it does not read as a result: {reason}"
            )
    return found


def _is_study(text: bytes) -> bool:
    """Whether it is a study of few labels, whose accuracies are of other training data."""
    try:
        LimitedResult.model_validate_json(text)
    except ValidationError:
        return False
    return True


def _newest(results: Iterable[ProbeResult]) -> list[ProbeResult]:
    """One result of each kind: of the last checkpoint, or where it was not probed, of the latest that was."""

    def rank(result: ProbeResult) -> tuple[int, bool]:
        return result.step or 0, result.options.checkpoint != "named"

    best: dict[tuple[object, ...], ProbeResult] = {}
    for result in results:
        key = (result.task, variant(result), result.encoder, result.module, result.layer)
        if key not in best or rank(result) > rank(best[key]):
            best[key] = result
    order = sorted(best, key=lambda key: tuple("" if part is None else str(part) for part in key))
    return [best[key] for key in order]


def variant(result: ProbeResult) -> str:
    """What else than the task, the encoder and the place in it shapes a result."""
    options = result.options
    words = ["sampled"] * options.sampled
    words += ["best"] * (options.checkpoint == "best")
    if result.label_epochs and options.supervised_epochs != SUPERVISED_EPOCHS:
        words.append(f"epochs{options.supervised_epochs}")
    words += unusual_options(options, result.data_fingerprint)
    words += [options.solver] * (options.solver != "lbfgs")
    return ", ".join(words)


def _figures(result: ProbeResult) -> ProbeFigures:
    return ProbeFigures(
        task=result.task,
        variant=variant(result),
        encoder=result.encoder,
        module=result.module,
        layer=result.layer,
        step=result.step,
        accuracy=result.accuracy,
        interval_over_utterances=result.interval_over_utterances,
        interval_over_seeds=result.interval_over_seeds,
        majority=result.majority,
        num_test=result.num_test,
        data_fingerprint=result.data_fingerprint,
    )


def _of_probes(name: str, path: Location, probes: Sequence[ProbeResult]) -> list[str]:
    """What a reader has to know of a run's probes."""
    notes = []
    for task in dict.fromkeys((p.task, variant(p)) for p in probes):
        have = {p.encoder for p in probes if (p.task, variant(p)) == task}
        if missing := [kind for kind in BASELINES if kind not in have]:
            of = f"{task[0]} ({task[1]})" if task[1] else task[0]
            options = " ".join(f"--encoder {kind}" for kind in missing)
            notes.append(f"{name}: {of} has no {' and no '.join(missing)} baseline; probe it with {options}")
    checkpoints = complete_checkpoints(path)
    newest = checkpoints[-1].state.step if checkpoints else 0
    if old := sorted({p.step for p in probes if p.step is not None and p.step < newest}):
        steps = ", ".join(map(str, old))
        notes.append(f"{name}: probed at step {steps}, and its newest checkpoint is of step {newest}")
    return notes


def _across(runs: Sequence[ComparedRun], configs: Sequence[RunConfig]) -> list[str]:
    """Where runs do not compare."""
    notes = []
    of_data: dict[str, list[str]] = {}
    for run in runs:
        if run.data_fingerprint is not None:
            of_data.setdefault(run.data_fingerprint, []).append(run.name)
    if len(of_data) > 1:
        parts = "; ".join(f"{', '.join(names)} on {data[:12]}" for data, names in of_data.items())
        notes.append(f"trained on different data, so losses and accuracies do not compare: {parts}")
    for key in ("loss", "num_negatives", "prediction_steps", "negatives"):
        values = {str(getattr(config.objective, key)) for config in configs}
        if len(values) > 1:
            notes.append(f"InfoNCE does not compare: objective.{key} is {' or '.join(sorted(values))}")
    return notes
