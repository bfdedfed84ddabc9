"""Fixtures that every test may ask for. Nothing here starts Ray or reads a corpus until a test does.

Real speech: set VGIM_REALDATA to a folder in LibriSpeech's layout. Without it, a corpus at
`../shared/data/librispeech-mini` beside the clone is used where there is one, else those tests are skipped.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

if TYPE_CHECKING:
    from vgim.config import ResolvedConfig

# Before torch is imported anywhere: many small tests are faster on one thread than on contended ones.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["RAY_DATA_USE_DATASOURCE_V2"] = "0"
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # the coming default; silences its warning
os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")  # as `ensure_ray` has it on one machine
os.environ.setdefault("RAY_worker_niceness", "0")  # else the tests beside them hold up every all-reduce
os.environ.setdefault("RAY_idle_worker_killing_time_threshold_ms", "600000")  # the next test has use for them

hypothesis.settings.register_profile("vgim", deadline=None)  # an example takes longer beside Ray's start
hypothesis.settings.load_profile("vgim")

ROOT = Path(__file__).resolve().parent.parent
OBJECT_STORE_BYTES = 200 * 2**20


@cache
def has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by the fixtures they use, so that `-m "not ray"` needs no decoration."""
    for item in items:
        names = getattr(item, "fixturenames", ())
        if "ray_session" in names:
            item.add_marker("ray")
        if "realdata_dir" in names:
            item.add_marker("realdata")
        if item.get_closest_marker("gpu") and not has_gpu():
            item.add_marker(pytest.mark.skip("torch finds no GPU"))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Of the processes that run tests, one takes all that use Ray, first; the others take the rest."""
    from xdist.scheduler import LoadScopeScheduling

    class RayInOne(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file, _, test = nodeid.partition("::")
            return "ray" if test.partition("[")[0] in on_ray(file) else nodeid

    return RayInOne(config, log)


@cache
def on_ray(file: str) -> set[str]:
    """Functions of a test file that are marked for Ray, that take the session's Ray, or what takes it."""
    text = (ROOT / file).read_text(encoding="utf-8")
    functions = [node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)]
    takes = {function.name: {argument.arg for argument in function.args.args} for function in functions}
    if "pytestmark = pytest.mark.ray" in text:
        return set(takes)
    found = {f.name for f in functions if "pytest.mark.ray" in map(ast.unparse, f.decorator_list)}
    found.add("ray_session")
    while more := {name for name, arguments in takes.items() if arguments & found} - found:
        found |= more
    return found


@pytest.fixture(scope="session", autouse=True)
def vgim_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """VGIM_HOME for the session, so that no test writes into anybody's home."""
    home = tmp_path_factory.mktemp("home")
    before = os.environ.get("VGIM_HOME")
    os.environ["VGIM_HOME"] = str(home)
    yield home
    if before is None:
        del os.environ["VGIM_HOME"]
    else:
        os.environ["VGIM_HOME"] = before


@pytest.fixture(autouse=True)
def no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of tests need not outlive a power cut."""
    monkeypatch.setattr(os, "fsync", lambda fd: None)


@pytest.fixture(scope="session")
def ray_session(vgim_home: Path) -> Iterator[None]:
    """The session's one Ray instance: four logical CPUs, so that Ray Data has some beside two workers."""
    import ray

    ray.init(
        "local",  # whatever cluster happens to run on the machine
        num_cpus=4,
        include_dashboard=True,  # through which the CPUs of a trial that Tune stops are freed
        log_to_driver=False,
        object_store_memory=OBJECT_STORE_BYTES,
        logging_level="ERROR",
    )
    ray.data.DataContext.get_current().enable_progress_bars = False
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def realdata_dir() -> Path:
    """A folder of real speech in LibriSpeech's layout; the test is skipped where there is none."""
    named = os.environ.get("VGIM_REALDATA")
    folder = Path(named) if named else ROOT.parent / "shared" / "data" / "librispeech-mini"
    if not folder.is_dir():
        pytest.skip(f"no real speech at {folder}; set VGIM_REALDATA")
    return folder


TINY = """
data:
  shards: {shards}
  crop_samples: 5120
  shuffle_window: 12
model:
  family: sim
  channels: 8
  gru_units: 8
objective:
  prediction_steps: 3
  num_negatives: 5
  kld_weight: 0.001
  kld_warmup_steps: 8
optim:
  learning_rate: 1e-3
train:
  batch_size: 4
  epochs: 2
  log_every_steps: 1
cluster:
  workers: 0
  device: cpu
  threads_per_worker: 1
storage:
  root: {root}
  name: run
"""


@pytest.fixture(scope="session")
def tiny_shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of an embedded corpus: 40 utterances of 4 speakers to train on, in 7 row groups, 4 to validate."""
    from vgim.config.schema import SyntheticConfig
    from vgim.data.shards import write
    from vgim.data.shards.embedded import prepare_embedded

    folder = tmp_path_factory.mktemp("tiny") / "shards"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(write, "ROW_GROUP_ROWS", 6)
        prepare_embedded(folder, SyntheticConfig(speakers=4, utterances=48, seed=0))
    return folder


@pytest.fixture(scope="session")
def tiny_config_in(tiny_shards: Path) -> Callable[..., ResolvedConfig]:
    """`tiny_config_in(folder, "train.epochs=3", ...)`: a run of ten steps an epoch, each some milliseconds.

    It is trained in this process, and lies in `folder/runs`.
    """
    from vgim.config import load_config

    def make(folder: Path, *overrides: str) -> ResolvedConfig:
        preset = folder / "tiny.yaml"
        preset.write_text(TINY.format(shards=tiny_shards, root=folder / "runs"))
        return load_config(str(preset), overrides)

    return make


@pytest.fixture
def tiny_config(
    tiny_config_in: Callable[..., ResolvedConfig], tmp_path: Path
) -> Callable[..., ResolvedConfig]:
    """`tiny_config("train.epochs=3", ...)`: such a run in the test's own folder."""
    return partial(tiny_config_in, tmp_path)


@pytest.fixture(scope="session")
def probed_run(
    tiny_config_in: Callable[..., ResolvedConfig], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The folder of a run of twenty steps; tests write below its `probes`."""
    from vgim.train.trainer import train

    resolved = tiny_config_in(tmp_path_factory.mktemp("probed"))
    train(resolved)
    storage = resolved.config.storage
    return Path(storage.root, storage.name)
