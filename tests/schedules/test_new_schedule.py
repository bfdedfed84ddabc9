"""A new schedule is one class and one entry of the registry: config, training, messages and report know it then."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pytest

from tests.training.cases import records, run_location, single_rank_trainer
from vgim.config import ResolvedConfig
from vgim.config.keys import config_keys
from vgim.errors import ConfigError
from vgim.report.config_text import _schedule
from vgim.schedules.registry import SCHEDULES
from vgim.schedules.schedule import Phase, Schedule

Maker = Callable[..., ResolvedConfig]


class Halves(Schedule):
    """Two phases: the first half of the modules together, then the second half on the frozen first one."""

    name = "halves"
    summary = "one half of the modules after the other"
    min_modules = 2
    trains_all_modules_throughout = False

    def phases(self, modules: Sequence[int], epochs: int, module_epochs: Sequence[int]) -> list[Phase]:
        middle = len(modules) // 2
        return [Phase(0, tuple(modules[:middle]), epochs), Phase(1, tuple(modules[middle:]), epochs)]

    def phase_message(self, phase: Phase, step: int) -> str | None:
        return f"half {phase.number} trains from step {step} on"


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The schedule in the registry, by one entry."""
    monkeypatch.setitem(SCHEDULES, Halves.name, Halves())
    config_keys.cache_clear()
    yield
    config_keys.cache_clear()


def test_a_new_schedule_is_configured_and_trained(tiny_config: Maker) -> None:
    config = tiny_config("train.schedule=halves", "train.max_steps=2").config
    assert single_rank_trainer(config).run() == "finished at step 4, epoch 1"
    run = run_location(config)
    trained = [[module["module"] for module in record["modules"]] for record in records(run, "train")]
    assert trained == [[0, 1], [0, 1], [2, 3], [2, 3]]
    messages = [record["message"] for record in records(run, "event") if "half" in record["message"]]
    assert messages == ["half 0 trains from step 0 on", "half 1 trains from step 2 on"]
    assert _schedule(config).startswith("one half of the modules after the other; ")


def test_messages_know_a_new_schedule(tiny_config: Maker) -> None:
    with pytest.raises(ConfigError, match="must be one of joint, sequential, parallel, halves"):
        tiny_config("train.schedule=thirds")
    with pytest.raises(ConfigError, match=r"train\.schedule=halves has no meaning for one module; use joint"):
        tiny_config("train.schedule=halves", "model.family=cpc", "objective.kld_weight=0")
