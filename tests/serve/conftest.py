"""A run with a decoder whose every latent is heard, and its playground."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from vgim.config import ResolvedConfig
from vgim.serve.playground import Playground


@pytest.fixture(scope="session")
def served_run(
    tiny_config_in: Callable[..., ResolvedConfig], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A run of two steps with a decoder of module 1; no test writes into it."""
    from vgim.decode.train import DecoderOptions, train_decoder
    from vgim.training.trainer import train

    folder = tmp_path_factory.mktemp("served")
    assert train(tiny_config_in(folder, "train.max_steps=2")) == 0
    run = folder / "runs" / "run"
    overrides = ("train.batch_size=4", "train.max_steps=2", "listen.crops=0", "optim.learning_rate=0.2")
    assert train_decoder(str(run), DecoderOptions(module=1), overrides) == 0
    return run


@pytest.fixture(scope="session")
def playground(served_run: Path) -> Playground:
    from vgim.decode.session import open_session
    from vgim.serve.survey import survey

    session = open_session(str(served_run))
    return Playground(session, survey(session, None, 60))


@pytest.fixture(scope="session")
def two_decoders(served_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the run with another decoder, of a layer of module 0."""
    import shutil

    from vgim.decode.train import DecoderOptions, train_decoder

    run = Path(shutil.copytree(served_run, tmp_path_factory.mktemp("two") / "run"))
    overrides = ("train.batch_size=4", "train.max_steps=1", "listen.crops=0")
    assert train_decoder(str(run), DecoderOptions(module=0, layer=1), overrides) == 0
    return run
