"""From a run's folder to its page: `vgim report` and ray_jobs/report.py call `write_report`."""

from __future__ import annotations

import base64
import hashlib
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from vgim import __version__
from vgim.config import RunConfig, to_yaml
from vgim.errors import StorageError, VgimError
from vgim.pages.environment import page_environment
from vgim.report import config_text
from vgim.report.commands import command_line
from vgim.report.compare import Comparison, comparison
from vgim.report.curves import Training, training
from vgim.report.embed import Embedder, Limits
from vgim.report.latents import Analysis, analyses
from vgim.report.notes import Notes
from vgim.report.probes import Probes, probes
from vgim.report.records import ParsedRecord, read_records, stepping_seconds
from vgim.report.sound import Decoder, decoders
from vgim.report.tables import Table
from vgim.runs.folder import RunFolder, RunRecord
from vgim.runs.layout import CONFIG, METRICS, RECORD
from vgim.runs.listing import current_state
from vgim.storage import Location

REPORT = "report.html"

Say = Callable[[str], None]


@dataclass(frozen=True)
class Page:
    """All that the page shows; the template adds only words that are always the same."""

    name: str
    uri: str
    quoted: str
    """The uri as a shell takes it."""
    state: str
    lead: str
    facts: tuple[config_text.Fact, ...]
    origin: tuple[config_text.Fact, ...]
    modules: Table | None
    data: Table | None
    config: str
    training: Training
    probes: Probes
    analyses: tuple[Analysis, ...]
    decoders: tuple[Decoder, ...]
    comparison: Comparison | None
    commands: tuple[str, ...]
    notes: Notes
    embedder: Embedder


def write_report(
    run: str,
    compare: Sequence[str] = (),
    out: str | None = None,
    limits: Limits = Limits(),  # noqa: B008 - frozen
    say: Say = lambda line: None,
) -> Location:
    """Write one HTML file about a run, from what lies in its folder; the same files give the same bytes.

    Args:
        run: A run's folder, a path or a URI.
        compare: Other runs to set beside it.
        out: The file to write; RUN/report.html by default.
        limits: How much it may hold.
        say: Told what was left out.

    Returns:
        The file.

    Raises:
        StorageError: There is no run, or the file cannot be written. Files of the run that cannot be read are named
            on the page instead.
    """
    page = gather(Location(run), [Location(other) for other in compare], limits)
    path = Location(out) if out else Location(run).child(REPORT)
    path.write_bytes_atomic(render(page).encode())
    for sentence in (*page.notes.warnings, *page.notes.damaged):
        say(sentence)
    return path


def gather(run: Location, compare: Sequence[Location], limits: Limits) -> Page:
    """Read what a run's folder holds."""
    if not any(run.child(name).exists() for name in (CONFIG, RECORD, METRICS)):
        raise StorageError(f"{run.uri} is no run: it has no {CONFIG}; name a run's folder")
    notes = Notes(run)
    embedder = Embedder(limits, notes)
    config, record = _config(run, notes), _record(run, notes)
    records = read_records(run, notes)
    data = config_text.read_data(config, record, notes) if config else None
    state = _state(record, records, notes)
    learned = training(records, config, notes)
    probed, looked, heard = (
        probes(run, embedder, notes),
        analyses(run, embedder, notes),
        decoders(run, embedder, notes),
    )
    return Page(
        name=run.name,
        uri=run.uri,
        quoted=shlex.quote(run.uri),
        state=state,
        lead=config_text.lead(config, record, data, state, _progress(records)),
        facts=tuple(config_text.facts(config, data, stepping_seconds(records))) if config else (),
        origin=tuple(config_text.origin(record)) if record else (),
        modules=config_text.modules_table(config) if config else None,
        data=config_text.data_table(data) if data else None,
        config=to_yaml(config) if config else "",
        training=learned,
        probes=probed,
        analyses=looked,
        decoders=heard,
        comparison=comparison(run, compare, notes) if compare else None,
        commands=_commands(run, compare, record, probed, looked, heard),
        notes=notes,
        embedder=embedder,
    )


def render(page: Page) -> str:
    """The page as HTML: no address in it is fetched, and its policy forbids that any could be."""
    environment = page_environment("vgim.report")
    assert environment.loader is not None
    script = environment.loader.get_source(environment, "script.js")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template("report.html").render(
        page=page,
        version=__version__,
        script=Markup(script),
        script_hash=f"sha256-{digest}",
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


def _state(record: RunRecord | None, records: Sequence[ParsedRecord], notes: Notes) -> str:
    if record is None:
        return "unknown"
    state = current_state(record, records[-1].time if records else 0.0)
    if state == "failed":
        notes.warn(f"the run failed: {record.message or record.error or 'it does not say why'}")
    if state == "interrupted":
        notes.warn("the run was interrupted; the command that started it goes on from its last checkpoint")
    return state


def _progress(records: Sequence[ParsedRecord]) -> tuple[int, float]:
    """Step and epoch that the records reach."""
    epochs = [record.epoch for record in records if record.epoch is not None]
    return max((record.step for record in records), default=0), epochs[-1] if epochs else 0.0


def _commands(
    run: Location,
    compare: Sequence[Location],
    record: RunRecord | None,
    probed: Probes,
    looked: Sequence[Analysis],
    heard: Sequence[Decoder],
) -> tuple[str, ...]:
    """What was typed for all that the page shows, in the order of the work."""
    report = ["vgim", "report", run.uri, *(word for other in compare for word in ("--compare", other.uri))]
    commands = [
        command_line(record.command) if record else "",
        *probed.commands,
        *(command for decoder in heard for command in decoder.commands),
        *(analysis.command for analysis in looked),
        command_line(report),
    ]
    return tuple(dict.fromkeys(filter(None, commands)))
