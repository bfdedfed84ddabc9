"""Fixtures that every test may ask for. Nothing here starts Ray or reads a corpus until a test does.

Real speech: set VGIM_REALDATA to a folder in LibriSpeech's layout. Without it, a corpus at
`../shared/data/librispeech-mini` beside the clone is used where there is one, else those tests are skipped.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

from tests.object_storage import Bucket, ObjectServer, object_server_process
from tests.ray_cluster import RAY_ENVIRONMENT, RayCluster
from tests.scheduling import RAY, scope_of

if TYPE_CHECKING:
    from vgim.config import ResolvedConfig

# Before torch is imported anywhere: many small tests are faster on one thread than on contended ones.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ |= RAY_ENVIRONMENT

# On machines that test every change, a property meets the same examples each time; elsewhere it meets new ones. Neither
# how long an example takes nor how long one is in the making says anything where Ray starts beside it.
hypothesis.settings.register_profile(
    "vgim",
    deadline=None,
    derandomize=bool(os.environ.get("CI")),
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("vgim")

ROOT = Path(__file__).resolve().parent.parent
NODE_FIXTURES = {"three_nodes", "changing_nodes"}
"""Fixtures that add nodes to the session's Ray and take them away."""
CLUSTER = pytest.StashKey[RayCluster]()
"""The session's Ray, while it runs."""


@cache
def has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def pytest_sessionstart() -> None:
    """Take SIGINT and SIGHUP as a terminal's commands do; a shell's background jobs are told to ignore them."""
    for number in (signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by the fixtures that they use, so that `-m "not ray"` needs no decoration, and order them.

    Tests that use Ray come first, so that it can end before the others. Those of them that add nodes come last, because
    what other tests left on the nodes would go with them.
    """
    for item in items:
        if _uses_ray(item):
            item.add_marker("ray")
        if "realdata_dir" in getattr(item, "fixturenames", ()):
            item.add_marker("realdata")
        if item.get_closest_marker("gpu") and not has_gpu():
            item.add_marker(pytest.mark.skip("torch finds no GPU"))
    items.sort(
        key=lambda item: (
            not _uses_ray(item),
            not NODE_FIXTURES.isdisjoint(getattr(item, "fixturenames", ())),
        )
    )


def _uses_ray(item: pytest.Item) -> bool:
    return "ray_cluster" in getattr(item, "fixturenames", ())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """End Ray after the last test that uses it: its processes would take time and memory from all others."""
    yield
    if nextitem is not None and not _uses_ray(nextitem):
        _end_ray(item.config)


def _end_ray(config: pytest.Config) -> None:
    cluster = config.stash.get(CLUSTER, None)
    if cluster is not None:
        del config.stash[CLUSTER]
        cluster.shutdown()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """One process runs all tests that use Ray, first; the other processes run the rest."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return scope_of(nodeid)

        def _assign_work_unit(self, node: Any) -> None:
            if RAY in self.workqueue:
                self.workqueue.move_to_end(RAY, last=False)
            super()._assign_work_unit(node)

    return Scheduling(config, log)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Say at once how a process of `pytest -n` ended that should not have; pytest-xdist keeps it for itself."""
    if error:
        process = node.gateway._io.popen
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=10)
        print(f"\n{node.gateway.id} ended with exit code {process.returncode}", file=sys.stderr)


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


@pytest.fixture(autouse=True)
def fixed_seeds() -> None:
    """Start the global generators anew, so that a test draws the same numbers alone, in any order and on any day."""
    random.seed(0)
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed(0)
    if torch := sys.modules.get("torch"):
        torch.manual_seed(0)


@pytest.fixture(scope="session")
def ray_cluster(vgim_home: Path, pytestconfig: pytest.Config) -> Iterator[RayCluster]:
    """The session's one Ray instance, whose driver is this process; it ends after the last test that uses it."""
    pytestconfig.stash[CLUSTER] = cluster = RayCluster()
    yield cluster
    _end_ray(pytestconfig)  # where no other test follows, or the tests were interrupted


@pytest.fixture(scope="session")
def ray_session(ray_cluster: RayCluster) -> None:
    """For tests that need Ray to run, and nothing of its nodes."""


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
    from vgim.training.trainer import train

    resolved = tiny_config_in(tmp_path_factory.mktemp("probed"))
    train(resolved)
    storage = resolved.config.storage
    return Path(storage.root, storage.name)


@pytest.fixture(scope="session")
def object_server() -> Iterator[ObjectServer]:
    """An S3 server on loopback; a test asks for `bucket`."""
    with object_server_process() as server:
        yield server


@pytest.fixture
def bucket(object_server: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """A new bucket, to which the test's environment leads; nothing fails until the test says so.

    Failed requests are tried again by vgim alone, and soon; Arrow's own client waits for seconds.
    """
    from vgim.storage import filesystems, retry

    monkeypatch.setattr(retry, "FIRST_WAIT_S", 0.001)
    monkeypatch.setattr(filesystems, "ATTEMPTS_PER_REQUEST", 1)
    object_server.lead_to(monkeypatch)
    yield object_server.new_bucket()
    object_server.set_faults()
