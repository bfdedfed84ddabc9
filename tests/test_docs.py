"""What the documentation says holds: links, commands, config keys, presets, fields, exit codes."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from xml.etree import ElementTree

import click
import pytest
from packaging.requirements import Requirement
from ray.dashboard.modules.job.cli import submit

from vgim import errors
from vgim.cli import main
from vgim.config import DecoderConfig, load_config
from vgim.config.keys import config_keys
from vgim.config.presets import known_presets
from vgim.tune.sweep_file import load_sweep

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")] + sorted(
    ROOT.glob("docs/*.md")
)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
JOBS = {
    "ray_jobs/train.py": ["train"],
    "ray_jobs/prepare.py": ["data", "prepare"],
    "ray_jobs/probe.py": ["probe"],
    "ray_jobs/latents.py": ["latents"],
    "ray_jobs/report.py": ["report"],
    "ray_jobs/features.py": ["features"],
    "ray_jobs/decode.py": ["decode", "train"],
    "ray_jobs/sweep.py": ["sweep", "run"],
    "ray_jobs/experiment.py": ["experiment", "run"],
}
PRESET = re.compile(
    r"(quickstart|(?:published-)?(?:librispeech|artificial)-(?:sim|gim|cpc)(?:-extra|-deep)?)(\.yaml)?"
)

STAGES = ("placement", "replicas", "transfer_dtype", "transfer_buffers")
NEEDED = {
    "model.head": ("model.family=gim", "objective.kld_weight=0"),
    "objective.target_rate_unit": ("objective.target_rate=1",),
    "train.schedule": ("cluster.workers=2",),
    **{f"train.{key}": ("train.schedule=parallel", "cluster.workers=2") for key in STAGES},
}
"""Overrides of quickstart, by the key that is refused without them."""

pages = pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)


def code_blocks(page: Path) -> Iterator[str]:
    """Lines of fenced and of indented code."""
    fenced = False
    for line in page.read_text().splitlines():
        if line.startswith("```"):
            fenced = not fenced
        elif fenced or line.startswith("    "):
            yield line.strip()


def inline_code(page: Path) -> list[str]:
    prose = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    kept = "\n".join(line for line in prose.splitlines() if not line.startswith("    "))
    return [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", kept)]


def commands(page: Path) -> Iterator[list[str]]:
    """What `vgim` is given by each line of a page's code, jobs included."""
    for line in code_blocks(page):
        _, _, of_job = line.partition("ray job submit ")
        command = of_job.partition(" -- ")[2] or line
        if command.startswith("vgim "):
            yield shlex.split(command, comments=True)[1:]
        for script, verb in JOBS.items():
            if f"python {script}" in line:
                yield verb + shlex.split(line.partition(script)[2], comments=True)


def parse(args: Iterable[str]) -> click.Context:
    """Parse a command line as `vgim` would, without running it."""
    command: click.Command = main
    context, rest = None, list(args)
    while True:
        context = command.make_context(command.name, rest, parent=context)
        if not isinstance(command, click.Group):
            return context
        name, found, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        assert found is not None, name
        command = found


def verbs(group: click.Group, prefix: str = "vgim") -> Iterator[str]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None, name
        dotted = prefix if name == getattr(group, "default", None) else f"{prefix} {name}"
        if isinstance(command, click.Group):
            yield from verbs(command, dotted)
        else:
            yield dotted


def anchors(page: Path) -> set[str]:
    """The anchors that headings get."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def test_commands_are_found_in_text() -> None:
    found = list(commands(ROOT / "README.md"))
    assert ["train", "configs/quickstart.yaml"] in found  # from the line with `ray job submit`
    assert ["runs", "runs"] in found


def test_commands_are_found_in_jobs() -> None:
    downloads = [args for args in commands(ROOT / "docs/cluster.md") if args[:2] == ["data", "download"]]
    assert len(downloads) == 1


def test_the_table_of_jobs_is_whole() -> None:
    page = (ROOT / "docs/cluster.md").read_text()
    rows = dict(re.findall(r"^\| `(ray_jobs/\w+\.py)` \| `vgim ([a-z -]+)` \|$", page, flags=re.MULTILINE))
    assert {script: verb.split() for script, verb in rows.items()} == {
        script: [word for word in verb if word != "run"] for script, verb in JOBS.items()
    }


def test_jobs_on_clouds_train_on_the_shards_that_a_job_wrote_each_run_under_its_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("VGIM_HOME", "/shared")
    jobs = [args for args in commands(ROOT / "docs/cluster.md") if "cluster.autoscaling=true" in args]
    (written,) = (
        args[args.index("--out") + 1]
        for args in commands(ROOT / "docs/cluster.md")
        if args[:2] == ["data", "prepare"] and "/shared/LibriSpeech" in args
    )
    configs = [load_config(args[1], args[2:]).config for args in jobs if args[0] == "train"]
    sweeps = [parse(args).params for args in jobs if args[0] == "sweep"]
    configs_of_sweeps = [load_sweep(given["file"], given["overrides"]).base for given in sweeps]
    assert len(configs) == len(sweeps) == 2
    assert {config.data.shards for config in (*configs, *configs_of_sweeps)} == {written}
    assert len({config.storage.name for config in configs}) == len(configs)


@pages
def test_jobs_are_submitted_with_options_that_ray_has(page: Path) -> None:
    for line in code_blocks(page):
        _, found, rest = line.partition("ray job submit ")
        if found:
            context = submit.make_context("submit", shlex.split(rest, comments=True))
            assert context.params["entrypoint"], line


@pages
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(page.read_text()):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pages
def test_commands_parse(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    for args in commands(page):
        if any("..." in arg for arg in args):
            continue
        context = parse(args)
        if "preset" in context.params and "overrides" in context.params and context.params["preset"]:
            load_config(context.params["preset"], context.params["overrides"])
        elif args[:2] == ["decode", "train"]:
            keys = {override.partition("=")[0] for override in context.params["overrides"]}
            assert keys <= config_keys(DecoderConfig).leaves.keys(), args


def test_the_tutorial_goes_from_a_download_to_a_sound_and_out() -> None:
    given = [" ".join(args) for args in commands(ROOT / "docs/tutorial.md")]
    way = (
        "data prepare librispeech",
        "train librispeech-sim",
        "probe",
        "latents",
        "decode train",
        "decode traverse",
        "decode interpolate",
        "report",
        "serve",
        "export",
    )
    firsts = [next(i for i, command in enumerate(given) if command.startswith(part)) for part in way]
    assert firsts == sorted(firsts), dict(zip(way, firsts, strict=True))


@pages
def test_config_keys_exist(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    known, decoders = config_keys(), config_keys(DecoderConfig)
    for code in inline_code(page):
        match = re.fullmatch(r"([a-z]+(?:\.[a-z_]+)+)(=\S+)?", code)
        if (
            match is None
            or match[1].partition(".")[0] not in known.members
            or match[1].endswith((".py", ".md", ".yaml", ".safetensors"))
        ):
            continue
        found = match[1] in known.leaves or match[1] in known.members
        assert found or match[1] in decoders.leaves, code
        if match[2] and found:
            load_config("quickstart", [*NEEDED.get(match[1], ()), code])


@pages
def test_presets_exist(page: Path) -> None:
    for code in inline_code(page):
        for word in code.replace("configs/", "").split():
            if re.fullmatch(r"(quickstart|(published-)?(librispeech|artificial)-[a-z-]+)(\.yaml)?", word):
                exists = word.removesuffix(".yaml") in known_presets() or f"vgim data prepare {word}" in set(
                    verbs(main)
                )
                assert exists, code


def test_every_preset_is_described() -> None:
    named = {match[1] for code in inline_code(ROOT / "docs/config.md") if (match := PRESET.fullmatch(code))}
    assert named == {name for name in known_presets() if not name.startswith("_")}


def test_the_table_of_commands_is_whole() -> None:
    table = [line for line in (ROOT / "README.md").read_text().splitlines() if line.startswith("| `vgim ")]
    shown = {re.match(r"\| `(vgim(?: [a-z-]+)+)", line)[1] for line in table}  # type: ignore[index]
    assert shown == set(verbs(main))


def test_the_readme_names_the_extras_and_the_versions_of_ray_and_torch() -> None:
    readme = (ROOT / "README.md").read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    bounds = {
        need.name: {bound.operator: bound.version for bound in need.specifier}
        for need in map(Requirement, project["dependencies"])
    }
    major, minor = bounds["ray"]["<"].split(".")
    versions = (
        f"Ray {bounds['ray']['>=']} to {major}.{int(minor) - 1} and torch {bounds['torch']['>=']} or newer"
    )
    assert versions in readme
    assert bounds["torch"].keys() == {">="}
    assert [
        name for name in project["optional-dependencies"] if name != "dev" and f"`{name}`" not in readme
    ] == []


def test_every_exit_code_is_explained() -> None:
    rows = re.findall(r"^\| (\d+) \| (\w+)", (ROOT / "docs/cluster.md").read_text(), flags=re.MULTILINE)
    told = {int(code): word for code, word in rows}
    for error in errors.VgimError.__subclasses__():
        assert error.__name__.lower().startswith(told[error.exit_code].lower()), error


def test_every_field_is_explained() -> None:
    from vgim.data.shards.columns import INDEX_SCHEMA, SHARD_SCHEMA
    from vgim.downstream.options import ProbeOptions
    from vgim.downstream.result import ProbeResult, SeedResult
    from vgim.latents.result import AnalysisResult
    from vgim.model.module_output import METRICS
    from vgim.runs.folder import RunRecord
    from vgim.runs.training_state import TrainingState
    from vgim.training.greedy import GreedyLearner

    expected = {
        "runs.md": {*RunRecord.model_fields, *TrainingState.model_fields} - {"schema_version", "name"},
        "probes.md": {
            *ProbeResult.model_fields,
            *SeedResult.model_fields,
            *(set(ProbeOptions.model_fields) - {"device"}),
        }
        - {"schema_version"},
        "latents.md": {*AnalysisResult.model_fields} - {"schema_version"},
        "data.md": {*SHARD_SCHEMA.names, *INDEX_SCHEMA.names},
        "training.md": {
            *METRICS,
            *GreedyLearner.mean_metrics,
            "data_wait_s",
            "compute_s",
            "overhead_s",
            "last_step",
            "crops_per_s",
        },
    }
    for name, fields in expected.items():
        assert fields - set(inline_code(ROOT / "docs" / name)) == set(), name


def test_the_picture_is_well_formed() -> None:
    picture = ElementTree.parse(ROOT / "docs/pipeline.svg").getroot()
    assert picture.tag.endswith("svg")
    assert "viewBox" in picture.attrib
