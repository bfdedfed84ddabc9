"""Makes the page of a run from its folder: `vgim report` and ray_jobs/report.py call `write_report`."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from vgim import __version__
from vgim.config import RunConfig, to_yaml
from vgim.errors import StorageError, VgimError
from vgim.pages.chart import Chart
from vgim.pages.environment import page_environment, script
from vgim.progress import SILENT, Progress, Stage
from vgim.report import config_text
from vgim.report.commands import command_line
from vgim.report.curves import Training, describe_training
from vgim.report.decoders import DecoderSection, read_decoders
from vgim.report.embed import Embedder, Limits
from vgim.report.latents import AnalysisSection, read_analyses
from vgim.report.metrics import MetricsLine, read_records, seconds_in_steps
from vgim.report.notes import Notes
from vgim.report.other_runs import ComparedRuns, compare_with
from vgim.report.probes import ProbeSections, read_probes
from vgim.report.spectrogram import RANGE_DB
from vgim.report.tables import Table
from vgim.runs.checkpoint import Checkpoint, checkpoints_and_damage
from vgim.runs.continuation import continuation
from vgim.runs.folder import RunFolder, RunRecord, no_run
from vgim.runs.layout import CONFIG, METRICS, RECORD
from vgim.runs.listing import current_state
from vgim.runs.training_state import FILE_NAMES
from vgim.storage import Location
from vgim.verdict.judge import read_verdict
from vgim.verdict.verdict import Verdict

REPORT = "report.html"


@dataclass(frozen=True)
class Page:
    """Everything that differs between pages; the template adds the fixed text."""

    name: str
    uri: str
    quoted: str
    """The uri, quoted for a shell."""
    state: str
    summary: str
    verdict: Verdict | None
    """None if the run's config or metrics cannot be read."""
    main_chart: Chart | None
    """The chart beside the verdict: of the first probe, else of InfoNCE; None without either."""
    config_terms: tuple[config_text.Term, ...]
    provenance_terms: tuple[config_text.Term, ...]
    modules: Table | None
    data: Table | None
    config: str
    training: Training
    probes: ProbeSections
    analyses: tuple[AnalysisSection, ...]
    decoders: tuple[DecoderSection, ...]
    comparison: ComparedRuns | None
    commands: tuple[str, ...]
    notes: Notes
    embedder: Embedder


def write_report(
    run: str,
    compare: Sequence[str] = (),
    out: str | None = None,
    limits: Limits = Limits(),  # noqa: B008 - frozen
    progress: Progress = SILENT,
) -> Location:
    """Write one HTML file about a run from the files in its folder; the same files give the same bytes.

    Args:
        run: A run's folder, a path or a URI.
        compare: Other runs to set beside it.
        out: The file to write; RUN/report.html by default.
        limits: Number of sounds and size of the page, at most.
        progress: Where to report what is read, each problem of the run and each file that is left out.

    Returns:
        The file.

    Raises:
        CheckpointError: There is no run.
        StorageError: The file cannot be written. Damaged files of the run raise nothing: the page names them.
    """
    with progress.stage("reading the run's results") as stage:
        page = gather(Location(run), [Location(other) for other in compare], limits, stage)
    path = Location(out) if out else Location(run).child(REPORT)
    with progress.stage("writing the page"):
        path.write_bytes_atomic(render(page).encode())
    for sentence in (*page.notes.warnings, *page.notes.damaged):
        progress.message(sentence)
    return path


def gather(run: Location, compare: Sequence[Location], limits: Limits, stage: Stage) -> Page:
    """Read everything that the page shows from a run's folder."""
    if not any(run.child(name).exists() for name in (CONFIG, RECORD, METRICS)):
        raise no_run(run)
    notes = Notes(run)
    embedder = Embedder(limits, notes)
    stage.update(detail="metrics")
    config, record = _config(run, notes), _record(run, notes)
    records = read_records(run, notes)
    data = config_text.read_data(config, record, notes) if config else None
    checkpoints = _checkpoints(run, notes)
    state = _state(run, record, records, checkpoints, notes)
    training = describe_training(records, config, notes)
    stage.update(detail="probes")
    probes = read_probes(run, embedder, notes)
    stage.update(detail="analyses of latents")
    analyses = read_analyses(run, embedder, notes)
    stage.update(detail="decoders and their sounds")
    decoders = read_decoders(run, embedder, notes)
    stage.update(detail="verdict and comparison")
    verdict = _verdict(run, config, checkpoints)
    return Page(
        name=run.name,
        uri=run.uri,
        quoted=shlex.quote(run.uri),
        state=state,
        summary=config_text.summary_of_run(
            config, record, data, state, _progress(records), _unsaid_kl_weight(verdict)
        ),
        verdict=verdict,
        main_chart=_main_chart(probes, training),
        config_terms=tuple(config_text.config_terms(config, data, seconds_in_steps(records)))
        if config
        else (),
        provenance_terms=tuple(config_text.provenance_terms(record)) if record else (),
        modules=config_text.modules_table(config) if config else None,
        data=config_text.data_table(data) if data else None,
        config=to_yaml(config) if config else "",
        training=training,
        probes=probes,
        analyses=analyses,
        decoders=decoders,
        comparison=compare_with(run, compare, notes) if compare else None,
        commands=_commands(run, compare, record, probes, analyses, decoders),
        notes=notes,
        embedder=embedder,
    )


def render(page: Page) -> str:
    """The page as HTML. It fetches nothing, and its content security policy forbids fetching."""
    environment = page_environment("vgim.report")
    return environment.get_template("report.html").render(
        page=page,
        version=__version__,
        range_db=RANGE_DB,
        **script(environment, "chart.js", "tables.js", "script.js"),
    )


def _config(run: Location, notes: Notes) -> RunConfig | None:
    try:
        config = RunFolder(run).config()
    except VgimError as error:
        notes.damage(run.child(CONFIG), str(error))
        return None
    if config is None:
        notes.damage(run.child(CONFIG), "there is no such file")
    return config


def _record(run: Location, notes: Notes) -> RunRecord | None:
    try:
        record = RunFolder(run).record()
    except VgimError as error:
        notes.damage(run.child(RECORD), str(error))
        return None
    if record is None:
        notes.damage(run.child(RECORD), "there is no such file")
    return record


def _verdict(
    run: Location, config: RunConfig | None, checkpoints: Sequence[Checkpoint] | None
) -> Verdict | None:
    with suppress(VgimError):  # which the page names already, where it shows what it could read
        return read_verdict(run, config, checkpoints) if config else None
    return None


def _main_chart(probes: ProbeSections, training: Training) -> Chart | None:
    """The chart that shows the main result, under a name of its own, since the page shows it again further down."""
    charts = [*(table.chart for table in probes.tables), *training.charts]
    found = next((chart for chart in charts if chart is not None), None)
    return None if found is None else replace(found, name="main")


def _state(
    run: Location,
    record: RunRecord | None,
    records: Sequence[MetricsLine],
    checkpoints: Sequence[Checkpoint] | None,
    notes: Notes,
) -> str:
    if record is None:
        return "unknown"
    state = current_state(run, record, records[-1].time if records else 0.0)
    if state == "failed":
        notes.warn(f"the run failed: {record.message or record.error or 'its record gives no reason'}")
    if state == "interrupted":
        with suppress(VgimError):  # checkpoints that cannot be listed are named elsewhere
            notes.warn(f"the run was interrupted; {continuation(run, checkpoints)}")
    return state


def _checkpoints(run: Location, notes: Notes) -> list[Checkpoint] | None:
    """The complete checkpoints, None if they cannot be listed; names those with a lost or damaged file."""
    try:
        checkpoints, damaged = checkpoints_and_damage(run, FILE_NAMES)
    except StorageError as error:
        notes.warn(f"checkpoints cannot be listed: {error}")
        return None
    for damage in damaged:
        notes.warn(f"a checkpoint is damaged: {notes.short(damage.file)} {damage.problem}")
    return checkpoints


def _unsaid_kl_weight(verdict: Verdict | None) -> str:
    """The sentence on a KL weight that was not reached, if the verdict has no room for it; empty otherwise."""
    if verdict is None:
        return ""
    found = [f.text for f in verdict.findings if f.about == "kl_weight" and f.level != "good"]
    return "".join(text for text in found if text not in verdict.sentences)


def _progress(records: Sequence[MetricsLine]) -> tuple[int, float]:
    """The step and epoch that the records reach."""
    epochs = [record.epoch for record in records if record.epoch is not None]
    return max((record.step for record in records), default=0), epochs[-1] if epochs else 0.0


def _commands(
    run: Location,
    compare: Sequence[Location],
    record: RunRecord | None,
    probes: ProbeSections,
    analyses: Sequence[AnalysisSection],
    decoders: Sequence[DecoderSection],
) -> tuple[str, ...]:
    """The commands that made what the page shows, in the order of the work."""
    report = ["vgim", "report", run.uri, *(word for other in compare for word in ("--compare", other.uri))]
    commands = [
        command_line(record.command) if record else "",
        *probes.commands,
        *(command for decoder in decoders for command in decoder.commands),
        *(analysis.command for analysis in analyses),
        command_line(report),
    ]
    return tuple(dict.fromkeys(filter(None, commands)))
