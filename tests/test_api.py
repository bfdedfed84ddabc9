"""`import vgim`: its functions do what their docstrings' examples show, and importing it loads nothing heavy."""

from __future__ import annotations

import doctest
import importlib.util
import inspect
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import vgim
from vgim.config import ResolvedConfig
from vgim.errors import CheckpointError, ConfigError
from vgim.runs.listing import RunSummary

Maker = Callable[..., ResolvedConfig]

# In an order in which each example finds what those before it made.
EXAMPLES = [
    "load_config",
    "prepare",
    "merge_shards",
    "split_shards",
    "subset_shards",
    "train",
    "list_runs",
    "read_metrics",
    "load_encoder",
    "open_shards",
    "train_decoder",
    "load_decoder",
    "probe",
    "analyze_latents",
]
PRESET = """
data:
  shards: corpus
  synthetic: {speakers: 4, utterances: 48}
  crop_samples: 5120
model: {channels: 8, gru_units: 8}
objective: {prediction_steps: 3, num_negatives: 5}
train: {batch_size: 4}
cluster: {device: cpu, threads_per_worker: 1, workers: 0}
storage: {root: runs}
"""


@pytest.fixture(scope="module")
def notebook(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with a corpus in LibriSpeech's layout and a small preset called quickstart."""
    from vgim.data.corpora.synthetic import synthesize

    folder = tmp_path_factory.mktemp("notebook")
    synthesize(str(folder / "LibriSpeech"), speakers=4, utterances=12, seed=0)
    synthesize(str(folder / "OtherSpeech"), speakers=1, utterances=3, seed=1)
    for path in sorted(
        (folder / "OtherSpeech").rglob("101*"), reverse=True
    ):  # another voice than LibriSpeech's 101
        path.rename(path.with_name(path.name.replace("101", "901")))
    for text in (folder / "OtherSpeech").rglob("*.t*xt"):
        text.write_text(text.read_text().replace("101", "901"))
    (folder / "configs").mkdir()
    (folder / "configs" / "quickstart.yaml").write_text(PRESET)
    return folder


def test_the_example_of_each_function_runs_as_shown(notebook: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(notebook)
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    for name in EXAMPLES:  # in the order of a notebook: later examples read the run that `train` trains
        (example,) = doctest.DocTestFinder(recurse=False).find(
            getattr(vgim, name), name, globs={"vgim": vgim, "torch": torch}
        )
        assert example.examples
        told: list[str] = []
        failures = doctest.DocTestRunner(optionflags=flags).run(example, out=told.append).failed
        assert not failures, "".join(told)


def test_the_examples_of_the_documentation_run(notebook: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = Path(__file__).parent.parent / "docs" / "python.md"
    monkeypatch.chdir(notebook)  # the run of the examples above is there: it is finished, and left alone
    blocks = re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, page.name, "exec"), names)
    assert len(blocks) == 9
    assert names["outputs"][-1].latents.shape[0] == len(names["batch"]["lengths"])  # type: ignore[index]
    assert len(names["results"]) == 3  # type: ignore[arg-type]


def test_every_public_function_has_an_example_that_is_run() -> None:
    assert {*EXAMPLES, "__version__"} == set(vgim.__all__) <= set(dir(vgim))
    for name in EXAMPLES:
        doc = inspect.getdoc(getattr(vgim, name)) or ""
        assert all(part in doc for part in ("Args:", "Returns:", "Raises:", "Example:")), name


def test_importing_vgim_and_reading_runs_loads_nothing_heavy() -> None:
    written = Path(__file__).parent / "written_by_0_1" / "runs"
    code = f"""
import sys, vgim
assert not {{"ray", "torch", "pandas", "numpy", "pydantic"}} & set(sys.modules), "import"
run, *_ = vgim.list_runs({str(written)!r})
assert vgim.read_metrics(run)
assert not {{"ray", "torch", "pandas", "matplotlib"}} & set(sys.modules), "reading"
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_no_module_shadows_a_public_function() -> None:
    assert all(inspect.isfunction(getattr(vgim, name)) for name in EXAMPLES)
    assert all(importlib.util.find_spec(f"vgim.{name}") is None for name in EXAMPLES)


def test_a_trained_run_stands_wherever_a_run_does_and_has_a_verdict(
    tiny_config: Maker, capsys: pytest.CaptureFixture[str]
) -> None:
    resolved = tiny_config("train.epochs=1")
    run = vgim.train(resolved)
    assert isinstance(run, RunSummary)
    assert (run.state, run.step, run.checkpoints) == ("finished", 10, 1)
    assert vgim.load_encoder(run).checkpoint.state.step == 10
    assert [record["step"] for record in vgim.read_metrics(run, "train")] == list(range(1, 11))
    assert vgim.list_runs(run) == [run]
    shown = capsys.readouterr().out
    assert run.verdict is not None
    assert all(f"verdict: {sentence}" in shown for sentence in run.verdict.sentences)
    assert str(run.verdict).splitlines()[-1].strip() == run.verdict.next.command  # type: ignore[union-attr]
    again = vgim.train(resolved.config)  # a config as it is stored in the run's folder
    assert (again.uri, again.step) == (run.uri, 10)


def test_mistakes_are_told_by_name(tiny_config: Maker, tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"overrides train.epochs=2 change a preset.*give them to load_config"
    ):
        vgim.train(tiny_config(), "train.epochs=2")
    with pytest.raises(CheckpointError, match=r"is no run: it has no run\.json"):
        vgim.read_metrics(tmp_path)
    with pytest.raises(ConfigError, match=r"the probe's options cannot be used: modul: Extra inputs"):
        vgim.probe(tmp_path, task="phone", modul=1)
    with pytest.raises(AttributeError, match="has no attribute 'trian'"):
        _ = vgim.trian  # type: ignore[attr-defined]


def test_what_records_and_probes_are_asked_for_must_exist(tiny_config: Maker) -> None:
    run = vgim.train(tiny_config("train.max_steps=1"))
    with pytest.raises(ConfigError, match="kind='x', but records are of the kinds train, validation, event"):
        vgim.read_metrics(run, "x")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="encoders"):
        vgim.probe(run, task="speaker", encoders=())


def test_paths_in_options_are_of_any_kind_and_written_in_full(
    tiny_config: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = vgim.train(tiny_config("train.max_steps=1"))
    shards = vgim.load_encoder(run).config.data.shards
    names = [item["utterance_id"] for split in ("train", "test") for item in vgim.open_shards(shards, split)]
    names += [item["utterance_id"] for item in vgim.open_shards(shards, "validation")]
    (tmp_path / "t.csv").write_text(
        "\n".join(["id,mood", *(f"{name},{i % 2}" for i, name in enumerate(names))])
    )
    monkeypatch.setenv("TABLES", str(tmp_path))
    for labels in (tmp_path / "t.csv", "$TABLES/t.csv"):
        (result,) = vgim.probe(run, "mood", labels=labels, shards=Path(shards), encoders=("mfcc",))
        assert (result.options.labels, result.options.shards) == (str(tmp_path / "t.csv"), shards)


def test_a_run_grows_by_a_module_behind_another_run(tiny_config: Maker) -> None:
    lower = vgim.train(tiny_config("train.max_steps=2", "model.depth=1", "storage.name=lower"))
    grown = vgim.train(tiny_config("train.max_steps=2", "storage.name=grown"), attach=lower)
    assert grown.state == "finished"
    encoder = vgim.load_encoder(grown)
    assert (encoder.num_modules, encoder.config.attach.run) == (2, lower.uri)
    assert "module 0 is of" in grown.verdict.sentences[0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: vgim.train(3),
            r"config=3 is of the type int; give a preset's name, the path of a YAML file",
        ),
        (lambda: vgim.train({"data": 1}), r"is of the type dict"),
        (lambda: vgim.train(Path("no.yaml")), r"no\.yaml"),
        (lambda: vgim.train("quickstart", 3), r"override 3 is of the type int; write it as 'key=value'"),
        (lambda: vgim.train("quickstart", {"train.epochs": 1}), "override .* is of the type dict"),
        (lambda: vgim.train("quickstart", resume_from=3), "resume_from=3 is of the type int"),
        (lambda: vgim.train("quickstart", attach=3), "attach=3 is of the type int"),
        (lambda: vgim.load_config(None), "preset=None is of the type NoneType"),
        (lambda: vgim.load_config(""), "preset is empty"),
        (lambda: vgim.prepare(3, corpus="a", out="b"), "name=3 is of the type int"),
        (lambda: vgim.prepare("librispeech", corpus=[1], out="b"), r"corpus=\[1\] is of the type list"),
        (lambda: vgim.list_runs(3), "storage=3 is of the type int"),
        (lambda: vgim.read_metrics(3), "run=3 is of the type int"),
        (lambda: vgim.probe(3, "phone"), "run=3 is of the type int"),
        (lambda: vgim.probe("a", 3), "the probe's options cannot be used: task"),
        (lambda: vgim.probe("a", "mood", labels=3), "labels=3 is of the type int"),
        (lambda: vgim.analyze_latents("a", shards=3), "shards=3 is of the type int"),
        (lambda: vgim.analyze_latents({}), "run={} is of the type dict"),
        (lambda: vgim.analyze_latents("a", only="maps"), "the analyses' options cannot be used: only"),
        (lambda: vgim.analyze_latents("a", compare=3), "compare=3 is of the type int"),
        (lambda: vgim.train_decoder(3), "run=3 is of the type int"),
        (lambda: vgim.train_decoder("a", module="last"), "the decoder's options cannot be used: module"),
        (lambda: vgim.open_shards(3), "shards=3 is of the type int"),
        (lambda: vgim.load_decoder(3), "where=3 is of the type int"),
        (lambda: vgim.merge_shards(3, "b"), "shards=3 is of the type int"),
        (lambda: vgim.split_shards("a", "b", train_list=3), "train_list=3 is of the type int"),
        (lambda: vgim.split_shards("a", "b", seed="x"), "options of split_shards cannot be used: seed"),
        (lambda: vgim.split_shards("a", "b", test_fraction="x"), "cannot be used: test_fraction"),
        (lambda: vgim.subset_shards("a", "b", max_hours="x"), "subset_shards cannot be used: max_hours"),
    ],
)
def test_arguments_of_another_type_are_told_by_name(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as told:
        call()
    assert "\n" not in str(told.value)


def test_lists_of_splits_and_shards_are_given_by_paths(notebook: Path) -> None:
    shards = notebook / "lists" / "shards"
    corpus = notebook / "LibriSpeech"
    made = vgim.prepare("librispeech", corpus=corpus, out=shards, workers=0)
    names = [file.stem for file in sorted(corpus.rglob("*.flac"))]
    (notebook / "lists" / "train.txt").write_text("\n".join(names))
    split = vgim.split_shards(
        shards,
        notebook / "lists" / "split",
        train_list=notebook / "lists" / "train.txt",
        validation_fraction=0,
    )
    assert split.splits["train"].utterances == made.num_utterances == len(names)
    with pytest.raises(ConfigError, match="there is one shard folder"):
        vgim.merge_shards(shards, notebook / "lists" / "joined")


def test_results_are_data_frames_where_pandas_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    written = Path(__file__).parent / "written_by_0_1" / "runs"
    metrics = vgim.read_metrics(written / "sim", "train")
    frame = metrics.to_pandas()
    assert len(frame) == sum(len(record["modules"]) for record in metrics)
    assert frame["nce"].tolist() == [m["nce"] for record in metrics for m in record["modules"]]
    assert "<table" in str(metrics._repr_html_())
    events = vgim.read_metrics(written / "sim", "event")
    assert events.to_pandas()["message"].tolist() == [record["message"] for record in events]
    runs = vgim.list_runs(written)
    assert runs.to_pandas()["name"].tolist() == [run.name for run in runs]
    assert runs.to_pandas()["nce0"].tolist() == [run.nce[0] for run in runs]
    monkeypatch.setitem(sys.modules, "pandas", None)
    assert runs._repr_html_() is None
    with pytest.raises(
        ConfigError, match=r"needs pandas, not installed here; pip install 'vgim\[notebook\]'"
    ):
        runs.to_pandas()
