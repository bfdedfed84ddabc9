"""A signal to a sweep, or a request in its folder: what it leaves, and how the same command ends.

Ray Tune's part is played in this process, one trial after the other.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.training.cases import assert_same, at_step, last_checkpoint, send
from tests.tune.sweep_cases import MakeSweep, run_here
from tests.waiting import wait_until
from vgim.errors import Interrupted
from vgim.progress import MessagesOnly
from vgim.runs.folder import RunFolder
from vgim.runs.layout import STOP_REQUEST
from vgim.training import stopping
from vgim.tune import job
from vgim.tune.job import run_sweep
from vgim.tune.sweep_file import Sweep
from vgim.tune.trial_driver import TrialContext, run_chain
from vgim.tune.trials import TrialChain, trials_of

SPACE = {"objective.kld_weight": "[0.001, 0.1]"}
SIX_STEPS = ("train.max_steps=6", "train.checkpoint_every_minutes=0")


def in_this_process(
    store: Any,
    chain_of: Callable[[Any], TrialChain],
    context: TrialContext,
    resources: Any,
    num_trials: int,
    *,
    on_end: Callable[[TrialChain, str | None], None],
    **options: Any,
) -> None:
    """Run the chains one after the other, in place of `vgim.tune.ray_tuner.run_tuner`."""
    for number in range(num_trials):
        chain = chain_of({"chain": number})
        with suppress(Interrupted):
            run_chain(chain, context, lambda trial, report: None)
        on_end(chain, None)


def signal_and_wait(ask: Callable[[], None]) -> None:
    """Ask a sweep to stop, and wait until its trial knows."""
    ask()
    # The thread that looks for the request ends when it has found one.
    wait_until(lambda: all(t.name != "stop-watch" for t in threading.enumerate()), "the request to stop")


def states(sweep: Sweep) -> list[tuple[str, str] | None]:
    records = [RunFolder(trial.run).record() for trial in trials_of(sweep)]
    return [record and (record.state, record.message) for record in records]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, None])
def test_a_signal_or_a_request_writes_the_step_under_way_and_the_same_command_ends_as_a_straight_one(
    tmp_path: Path,
    tiny_sweep_in: MakeSweep,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    number: signal.Signals | None,
) -> None:
    monkeypatch.setattr(job, "ensure_ray", lambda **options: None)
    monkeypatch.setattr(job, "run_tuner", in_this_process)
    monkeypatch.setattr(stopping, "LOCAL_POLL_S", 0.01)
    folders = tmp_path / "straight", tmp_path / "stopped"
    for folder in folders:
        folder.mkdir()
    straight, stopped = (tiny_sweep_in(folder, SPACE, *SIX_STEPS) for folder in folders)
    run_here(straight)

    ask = Path(str(stopped.folder), STOP_REQUEST).touch if number is None else send(number)
    at_step(monkeypatch, 3, lambda: signal_and_wait(ask))
    with pytest.raises(Interrupted) as e:
        run_sweep(stopped, progress=MessagesOnly(print))
    signal_said = number or signal.SIGTERM
    assert e.value.exit_code == 128 + signal_said
    assert states(stopped) == [("interrupted", f"stopped by {signal_said.name} at step 3, epoch 0"), None]
    assert capsys.readouterr().out.endswith("interrupted; the same command goes on with what is left\n")
    assert run_sweep(stopped, progress=MessagesOnly(print)) is not None
    assert states(stopped) == [("finished", "finished at step 6, epoch 0")] * 2
    for trial, expected in zip(trials_of(stopped), trials_of(straight), strict=True):
        ours, theirs = last_checkpoint(trial.config), last_checkpoint(expected.config)
        assert_same(ours.weights(), theirs.weights())
        assert_same(ours.optimizer(), theirs.optimizer())


def test_a_damaged_record_of_a_trial_that_waits_hinders_no_stop(
    tiny_sweep: MakeSweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "ensure_ray", lambda **options: None)
    monkeypatch.setattr(job, "run_tuner", in_this_process)
    sweep = tiny_sweep(SPACE, *SIX_STEPS)
    first, waiting = trials_of(sweep)
    waiting.run.child("run.json").write_bytes_atomic(b"{")
    monkeypatch.setattr(stopping, "LOCAL_POLL_S", 0.01)
    at_step(monkeypatch, 3, lambda: signal_and_wait(send(signal.SIGTERM)))
    with pytest.raises(Interrupted):
        run_sweep(sweep)
    record = RunFolder(first.run).record()
    assert record is not None
    assert record.state == "interrupted"
    assert run_sweep(sweep) is not None
    assert [found and found[0] for found in states(sweep)] == ["finished", "finished"]
