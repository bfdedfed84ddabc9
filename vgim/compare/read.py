"""Read runs into a comparison. Nothing is computed anew: everything comes from what training and probes wrote."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from vgim.compare.better import judge_runs
from vgim.compare.comparison import ComparedRun, Comparison, Cost, ModuleMetrics
from vgim.compare.read_probes import compared_probe, notes_on_baselines, notes_on_steps
from vgim.compare.settings import settings_of
from vgim.config import RunConfig
from vgim.config.yaml_text import to_flow
from vgim.downstream.stored import newest_results, read_results
from vgim.errors import ConfigError, VgimError
from vgim.model.losses import chance_of
from vgim.model.nat_cost import differing_units
from vgim.model.specs import count_parameters, module_specs
from vgim.runs.folder import RunFolder, no_run
from vgim.runs.layout import STATE
from vgim.runs.listing import summarize_run
from vgim.runs.metrics import MetricsRecord, damaged_lines_in_words, read_metrics_file
from vgim.runs.run_names import distinct_names
from vgim.storage import Location
from vgim.verdict.figures import RunFigures
from vgim.verdict.judge import judge
from vgim.verdict.read import gather_figures
from vgim.verdict.verdict import Verdict


def compare(runs: Sequence[str], *, baselines: bool = True) -> Comparison:
    """Read the folders of several runs.

    Args:
        runs: Runs' folders, paths or URIs.
        baselines: Note which baselines a run lacks.

    Returns:
        The comparison; files that are missing or damaged become notes.

    Raises:
        VgimError: A folder is no run.
    """
    folders = list(dict.fromkeys(Location(run) for run in runs))
    notes: list[str] = []
    configs = [compared_config(folder) for folder in folders]
    read = [
        _read_run(folder, name, config, notes, baselines)
        for folder, name, config in zip(folders, distinct_names(folders), configs, strict=True)
    ]
    compared = [run for run, _ in read]
    notes += _differences(compared, configs)
    verdict = judge_runs(compared, [figures for _, figures in read])
    return Comparison(runs=tuple(compared), notes=tuple(notes), verdict=verdict)


def compared_config(folder: Location) -> RunConfig:
    """Read the config of a run that is to be compared.

    Raises:
        VgimError: The folder is no run, or its config does not read.
    """
    if folder.child(STATE).exists():
        raise ConfigError(f"{folder.uri} is one checkpoint; name its run")
    config = RunFolder(folder).config()
    if config is None:
        raise no_run(folder)
    return config


def _read_run(
    folder: Location, name: str, config: RunConfig, notes: list[str], baselines: bool
) -> tuple[ComparedRun, RunFigures]:
    """Read one run; what cannot be read is added to `notes`."""
    run = RunFolder(folder)
    record, summary = None, None
    try:
        record = run.record()
        summary = summarize_run(run) if record is not None else None
    except VgimError as error:
        notes.append(f"{name}: its record or metrics cannot be read: {error}")
    metrics: list[MetricsRecord] = []
    try:
        file = read_metrics_file(folder)
        metrics = file.records
        if file.num_damaged:
            notes.append(f"{name}: {damaged_lines_in_words(file.num_damaged)}")
    except VgimError as error:
        notes.append(f"{name}: {error}")
    results = newest_results(read_results(folder, name, notes))
    figures = gather_figures(folder, config, record, metrics, results)
    verdict = judge(figures)
    cost, modules = None, list[ModuleMetrics]()
    try:
        cost, modules = _cost(metrics), _latest_validations(config, metrics, verdict)
    except (KeyError, TypeError, AttributeError, ArithmeticError) as error:
        notes.append(
            f"{name}: metrics.jsonl has a record that cannot be read: {type(error).__name__} {error}"
        )
    encoder_parameters, predictor_parameters = count_parameters(config)
    notes += notes_on_baselines(name, results) if baselines else []
    notes += notes_on_steps(name, folder, results)
    compared = ComparedRun(
        name=name,
        uri=folder.uri,
        state=summary.state if summary else None,
        family=config.model.family,
        head=None if config.model.family == "sim" else config.model.head,
        kld_weight=config.objective.kld_weight,
        target_rate=config.target_rate,
        settings=settings_of(config),
        num_modules=config.model.num_modules,
        channels=config.model.channels,
        step=summary.step if summary else None,
        epoch=summary.epoch if summary else None,
        encoder_parameters=encoder_parameters,
        predictor_parameters=predictor_parameters,
        workers=record.workers if record else None,
        device=_device(config, metrics),
        cost=cost,
        data_fingerprint=record.data_fingerprint if record else None,
        chance_nce=chance_of(config.objective).loss,
        modules=tuple(modules),
        probes=tuple(compared_probe(result) for result in results),
        verdict=verdict,
    )
    return compared, figures


def _cost(metrics: Iterable[MetricsRecord]) -> Cost | None:
    """Sum over `train` records, each of which holds means over the steps since the record before; None without any."""
    step_s = train_s = crops = 0.0
    step_before = 0
    for record in metrics:
        if record["kind"] != "train":
            continue
        num_steps, step_before = record["step"] - step_before, record["step"]
        step_s += num_steps * record["compute_s"]
        train_s += num_steps / record["steps_per_s"]
        crops += num_steps * record["crops_per_s"] / record["steps_per_s"]
    return Cost(step_s=step_s, train_s=train_s, utterances=round(crops)) if step_before else None


def _device(config: RunConfig, metrics: Sequence[MetricsRecord]) -> str | None:
    """Device of the latest record that names one, else the config's; None if that is auto."""
    names = [record["device"] for record in metrics if record.get("device")]
    if names:
        return str(names[-1])
    return None if config.cluster.device == "auto" else config.cluster.device


def _latest_validations(
    config: RunConfig, metrics: Iterable[MetricsRecord], verdict: Verdict
) -> list[ModuleMetrics]:
    """Each module's latest validation; under some schedules, modules are validated at different steps."""
    latest: dict[int, MetricsRecord] = {}
    for record in metrics:
        if record["kind"] == "validation":
            latest.update({m.get("module", index): m for index, m in enumerate(record["modules"])})
    modules = []
    for module, spec in enumerate(module_specs(config.model)):
        values = latest.get(module, {})
        nce, active_units = values.get("nce"), values.get("active_units")
        kl_per_element = values.get("kl_per_element") if spec.posterior else None
        collapsed = None
        if nce is not None and active_units is not None:
            collapsed = verdict.modules[module].state == "collapsed"
        modules.append(
            ModuleMetrics(
                module=module,
                nce=nce,
                accuracy=values.get("accuracy"),
                kl=values.get("kl") if spec.posterior else None,
                kl_per_element=kl_per_element,
                # Computed, because older records have none.
                kl_per_frame=None if kl_per_element is None else kl_per_element * spec.channels,
                active_units=active_units,
                collapsed=collapsed,
            )
        )
    return modules


def _differences(runs: Sequence[ComparedRun], configs: Sequence[RunConfig]) -> list[str]:
    """Notes on data and objectives by which the runs do not compare."""
    notes = []
    names_by_data: dict[str, list[str]] = {}
    for run in runs:
        if run.data_fingerprint is not None:
            names_by_data.setdefault(run.data_fingerprint, []).append(run.name)
    if len(names_by_data) > 1:
        parts = "; ".join(f"{', '.join(names)} on {data[:12]}" for data, names in names_by_data.items())
        notes.append(f"trained on different data, so losses and accuracies do not compare: {parts}")
    by_name = {run.name: config for run, config in zip(runs, configs, strict=True)}
    notes += _differing_layers(by_name)
    objectives = [config.objective for config in configs]
    told = {key: [str(getattr(o, key)) for o in objectives] for key in ("loss", "num_negatives", "negatives")}
    told["prediction_steps"] = [to_flow(o.plain_steps) for o in objectives]
    for key, values in told.items():
        if len(set(values)) > 1:
            notes.append(f"InfoNCE does not compare: objective.{key} is {' or '.join(sorted(set(values)))}")
    if (note := differing_units(by_name)) is not None:
        notes.append(note)
    return notes


def _differing_layers(configs: Mapping[str, RunConfig]) -> list[str]:
    """Notes on runs of one family whose layers differ otherwise than in size."""
    notes = []
    for family in dict.fromkeys(config.family for config in configs.values()):
        models = {name: config.model for name, config in configs.items() if config.family == family}
        heads = {name: model.head for name, model in models.items()}
        relus = {name: to_flow(list(model.relus)) if model.relus else "all" for name, model in models.items()}
        for key, values in (("head", heads), ("relus", relus)):
            if len(set(values.values())) > 1:
                parts = "; ".join(
                    f"{value} in {', '.join(name for name in values if values[name] == value)}"
                    for value in dict.fromkeys(values.values())
                )
                notes.append(f"runs of family {family} differ in model.{key}: {parts}")
    return notes
