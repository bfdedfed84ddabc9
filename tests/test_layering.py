"""Arrows point down only: who may import whom, read off the source, and what an import pulls in."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import vgim

PACKAGE = Path(vgim.__file__).parent

BASE = {
    "vgim.errors",
    "vgim.extras",
    "vgim.signals",
    "vgim.secrets",
    "vgim.storage",
    "vgim.config",
    "vgim.schedules",
    "vgim.arrays",
    "vgim.sealed_json",
    "vgim.text",
    "vgim.jsonl",
    "vgim.logs",
    "vgim.plotting",
    "vgim.progress",
    "vgim.claims",
}
# Room → the rooms that it may import, itself and what lies below. Anything else is an arrow up.
MAY_IMPORT: dict[str, set[str]] = {
    "vgim.signals": set(),
    "vgim.secrets": set(),
    "vgim.errors": {"vgim.secrets", "vgim.signals"},
    "vgim.extras": {"vgim.errors", "vgim.text"},
    "vgim.arrays": set(),
    "vgim.sealed_json": set(),
    "vgim.text": {"vgim.secrets"},
    "vgim.logs": {"vgim.errors", "vgim.secrets"},
    "vgim.plotting": set(),
    "vgim.progress": set(),
    "vgim.storage": {"vgim.errors", "vgim.secrets", "vgim.text"},
    "vgim.schedules": set(),
    "vgim.config": {"vgim.errors", "vgim.secrets", "vgim.text", "vgim.storage", "vgim.schedules"},
    "vgim.jsonl": {"vgim.errors", "vgim.storage"},
    "vgim.claims": {"vgim.errors", "vgim.text", "vgim.storage"},
    "vgim.cluster": {"vgim.errors", "vgim.signals", "vgim.text", "vgim.progress", "vgim.config"},
    "vgim.data": BASE | {"vgim.cluster"},
    "vgim.data.pcm": {"vgim.arrays"},
    "vgim.data.audio_problem": set(),
    "vgim.data.audio": {"vgim.extras", "vgim.data.pcm", "vgim.data.audio_problem"},
    "vgim.data.source": {"vgim.errors", "vgim.storage"},
    "vgim.data.text_lines": {"vgim.errors", "vgim.data.source"},
    "vgim.data.foreign": {
        "vgim.errors",
        "vgim.storage",
        "vgim.text",
        "vgim.data.audio_problem",
        "vgim.data.source",
    },
    "vgim.data.listing": {"vgim.errors", "vgim.secrets", "vgim.storage", "vgim.text", "vgim.data.foreign"},
    "vgim.data.archives": BASE | {"vgim.data.source"},
    "vgim.data.corpora": BASE
    | {
        "vgim.data.pcm",
        "vgim.data.audio",
        "vgim.data.audio_problem",
        "vgim.data.source",
        "vgim.data.foreign",
        "vgim.data.listing",
        "vgim.data.text_lines",
        "vgim.data.archives",
    },
    "vgim.data.download": BASE | {"vgim.data.archives", "vgim.data.corpora"},
    "vgim.data.shards": BASE
    | {
        "vgim.cluster",
        "vgim.data.pcm",
        "vgim.data.audio",
        "vgim.data.audio_problem",
        "vgim.data.source",
        "vgim.data.foreign",
        "vgim.data.text_lines",
        "vgim.data.archives",
        "vgim.data.corpora",
    },
    "vgim.data.align": BASE
    | {
        "vgim.cluster",
        "vgim.extras",
        "vgim.data.pcm",
        "vgim.data.text_lines",
        "vgim.data.corpora",
        "vgim.data.shards",
    },
    "vgim.data.reshard": BASE | {"vgim.data.pcm", "vgim.data.corpora", "vgim.data.shards"},
    "vgim.data.stream": BASE | {"vgim.data.pcm", "vgim.data.shards"},
    "vgim.model": BASE,
}
MAY_IMPORT["vgim.runs"] = BASE | {"vgim.data", "vgim.model"}
MAY_IMPORT["vgim.pretrained"] = BASE | {"vgim.data", "vgim.model", "vgim.runs"}
MAY_IMPORT["vgim.training"] = BASE | {"vgim.cluster", "vgim.data", "vgim.model", "vgim.runs"}
MAY_IMPORT["vgim.interop"] = BASE | {"vgim.model", "vgim.runs", "vgim.training"}
MAY_IMPORT["vgim.downstream"] = BASE | {
    "vgim.data",
    "vgim.model",
    "vgim.runs",
    "vgim.pretrained",
    "vgim.training",
}
# No circle inside: probes know no features, features no context, and encoders stand on both.
MAY_IMPORT["vgim.downstream.probes"] = BASE | {"vgim.data"}
MAY_IMPORT["vgim.downstream.features"] = MAY_IMPORT["vgim.downstream.probes"] | {
    "vgim.model",
    "vgim.downstream.output",
    "vgim.downstream.probes",
}
MAY_IMPORT["vgim.decode"] = MAY_IMPORT["vgim.downstream"]
MAY_IMPORT["vgim.latents"] = MAY_IMPORT["vgim.downstream"] | {"vgim.downstream"}
MAY_IMPORT["vgim.verdict"] = BASE | {
    "vgim.data.shards.manifest",
    "vgim.model.collapse",
    "vgim.model.losses",
    "vgim.model.nat_cost",
    "vgim.model.specs",
    "vgim.model.target_rate",
    "vgim.runs",
    "vgim.downstream.result",
    "vgim.downstream.result_table",
    "vgim.downstream.stored",
    "vgim.latents.result",
}
MAY_IMPORT["vgim.compare"] = BASE | {"vgim.model", "vgim.runs", "vgim.downstream", "vgim.verdict"}
MAY_IMPORT["vgim.pages"] = BASE
MAY_IMPORT["vgim.report"] = BASE | {
    "vgim.data",
    "vgim.model",
    "vgim.runs",
    "vgim.downstream",
    "vgim.verdict",
    "vgim.compare",
    "vgim.pages",
    "vgim.latents.registry",  # the order in which analyses are shown
    "vgim.latents.figure_names",
}
MAY_IMPORT["vgim.export"] = BASE | {
    "vgim.cluster",
    "vgim.data",
    "vgim.downstream",
    "vgim.model",
    "vgim.pretrained",
    "vgim.runs",
    "vgim.verdict",
}
MAY_IMPORT["vgim.serve"] = BASE | {"vgim.data", "vgim.model", "vgim.runs", "vgim.pretrained", "vgim.decode"}
MAY_IMPORT["vgim.tune"] = MAY_IMPORT["vgim.latents"] | {
    "vgim.latents",
    "vgim.verdict",
    "vgim.cluster",
    "vgim.pages",
}
MAY_IMPORT["vgim.experiment"] = MAY_IMPORT["vgim.downstream"] | {
    "vgim.cluster.working_dir",
    "vgim.compare",
    "vgim.verdict",
    "vgim.downstream",
}
VERSION = {"vgim", "vgim.__version__"}
MODEL_NEVER = {"ray", "pandas", "pyarrow"}


def imports_of(path: Path) -> Iterator[str]:
    """Every module that a file imports, at its top or inside a function, by absolute name."""
    package = ("vgim", *path.relative_to(PACKAGE).parent.parts)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) + "." if node.level else ""
            module = f"{base}{node.module or ''}".rstrip(".")
            yield from (f"{module}.{alias.name}" for alias in node.names)


def files_of(module: str) -> list[Path]:
    place = PACKAGE.joinpath(*module.split(".")[1:])
    return sorted(place.rglob("*.py")) if place.is_dir() else [place.with_suffix(".py")]


def within(name: str, module: str) -> bool:
    return name == module or name.startswith(f"{module}.")


@pytest.mark.parametrize("layer", MAY_IMPORT)
def test_a_layer_imports_only_what_lies_below_it(layer: str) -> None:
    allowed = {layer, *MAY_IMPORT[layer]}
    wrong = [
        f"{path.relative_to(PACKAGE)} imports {name}"
        for path in files_of(layer)
        for name in imports_of(path)
        if within(name, "vgim")
        and not any(within(name, module) for module in allowed)
        and name not in VERSION
    ]
    assert not wrong


def room_of(path: Path) -> str:
    """The folder or file directly below `vgim` that a file belongs to."""
    return f"vgim.{path.relative_to(PACKAGE).with_suffix('').parts[0]}"


def test_no_rooms_import_each_other_in_a_circle() -> None:
    files = [path for path in sorted(PACKAGE.rglob("*.py")) if path != PACKAGE / "__init__.py"]
    rooms = {room_of(path) for path in files}
    imports: dict[str, set[str]] = {room: set() for room in rooms}
    for path in files:
        names = {".".join(name.split(".")[:2]) for name in imports_of(path)}
        imports[room_of(path)] |= (names & rooms) - {room_of(path)}
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        pytest.fail(f"rooms import each other: {' imports '.join(reversed(error.args[1]))}")


def test_every_room_has_a_line_in_the_table() -> None:
    above_all = {"vgim.cli", "vgim.__init__", "vgim.__main__"}  # they may import everything
    rooms = {room_of(path) for path in PACKAGE.rglob("*.py") if not path.name.startswith("api")} - above_all
    assert rooms == {".".join(layer.split(".")[:2]) for layer in MAY_IMPORT}


def test_the_model_is_pure_torch() -> None:
    wrong = [
        f"{path.relative_to(PACKAGE)} imports {name}"
        for path in files_of("vgim.model")
        for name in imports_of(path)
        if name.split(".")[0] in MODEL_NEVER
    ]
    assert not wrong


# What is opened without Ray, in an order in which each adds to those before it.
LIGHT = [
    "vgim",
    "vgim.config",
    "vgim.model",
    "vgim.pretrained.encoder",
    "vgim.pretrained.decoder",
    "vgim.downstream.job",
    "vgim.latents.job",
    "vgim.report.page",
    "vgim.export.job",
    "vgim.serve.app",
    "vgim.serve.server",
    "vgim.tune.job",
    "vgim.experiment.job",
]


def test_imports_pull_in_neither_ray_nor_pandas_nor_matplotlib() -> None:
    code = f"""
import importlib, sys
for name in {LIGHT}:
    importlib.import_module(name)
    print(name, *sorted({{"ray", "pandas", "matplotlib"}} & set(sys.modules)))
"""
    assert subprocess.check_output([sys.executable, "-c", code], text=True).split("\n")[:-1] == LIGHT


def test_every_module_has_a_docstring() -> None:
    undocumented = [
        str(path.relative_to(PACKAGE))
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.stat().st_size and not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert not undocumented


def test_no_file_is_longer_than_400_lines() -> None:
    lengths = {
        str(path.relative_to(PACKAGE)): len(path.read_text(encoding="utf-8").splitlines())
        for path in PACKAGE.rglob("*.py")
    }
    assert {name: length for name, length in lengths.items() if length > 400} == {}
