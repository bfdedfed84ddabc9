"""Which decoder of a run the playground uses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vgim.config import DecoderConfig
from vgim.errors import CheckpointError, ConfigError
from vgim.pretrained.decoder import ENCODER, layer_of, list_decoders
from vgim.runs.checkpoint import complete_checkpoints
from vgim.runs.folder import RunFolder, no_run
from vgim.runs.layout import DECODERS, STATE
from vgim.storage import Location


@dataclass(frozen=True)
class TrainedDecoder:
    """A decoder that has a checkpoint, and what it decodes."""

    folder: Location
    module: int
    layer: int | None
    """Convolution of the module; None for the module's latents."""

    @property
    def decodes(self) -> str:
        """What it decodes, in words."""
        layer = "" if self.layer is None else f", layer {self.layer}"
        return f"module {self.module}{layer}"


def choose_decoder(
    run: Location, name: str | None, module: int | None, log: Callable[[str], None]
) -> Location:
    """The folder of a trained decoder of a run.

    Args:
        run: An encoder's run, or the folder of a decoder.
        name: Name of the decoder; None chooses one.
        module: Module that it decodes, counted from 0; None for the last module that has a decoder.
        log: Called with one line if several decoders fit.

    Raises:
        CheckpointError: There is no run, or no trained decoder fits; the message has the command that trains one.
        ConfigError: The decoder called `name` is not there, or decodes another module.
    """
    if run.child(ENCODER, STATE).exists():
        run, name = run.parent.parent, name or run.name
    if RunFolder(run).config() is None:
        raise no_run(run)
    trained = _trained_decoders(run)
    names = ", ".join(decoder.folder.name for decoder in trained) or "none"
    if name is not None:
        trained = [decoder for decoder in trained if decoder.folder.name == name]
        if not trained:
            raise ConfigError(f"{run.uri} has no trained decoder {name}; it has {names}")
    fitting = [decoder for decoder in trained if module in (None, decoder.module)]
    if not fitting:
        if name is not None:
            raise ConfigError(f"--module {module}, but {name} decodes {trained[0].decodes}; leave one out")
        if module is None:
            raise CheckpointError(
                f"{run.uri} has no trained decoder; train one: vgim decode train {run.uri} --loss mse+stft"
            )
        raise CheckpointError(
            f"no decoder of {run.uri} decodes module {module} (there are: {names}); train one: "
            f"vgim decode train {run.uri} --module {module} --loss mse+stft"
        )
    # A module's own latents before those of a layer.
    chosen = max(fitting, key=lambda decoder: (decoder.module, decoder.layer is None, decoder.folder.name))
    if len(fitting) > 1:
        log(f"decoder {chosen.folder.name} of {len(fitting)} ({names}); --decoder names another")
    return chosen.folder


def _trained_decoders(run: Location) -> list[TrainedDecoder]:
    found = []
    for name in list_decoders(run):
        folder = run.child(DECODERS, name)
        checkpoints = complete_checkpoints(folder)
        if checkpoints:
            config = checkpoints[-1].config(DecoderConfig)
            found.append(TrainedDecoder(folder, config.encoder.module, layer_of(config)))
    return found
