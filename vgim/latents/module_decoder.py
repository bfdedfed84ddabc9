"""The decoder of a module, chosen from the decoders of a run."""

from __future__ import annotations

from vgim.errors import ConfigError
from vgim.pretrained.decoder import FrozenDecoder, list_decoders, load_decoder
from vgim.pretrained.opened_run import OpenedRun
from vgim.runs.checkpoint import complete_checkpoints
from vgim.runs.layout import DECODERS
from vgim.storage import Location


def load_module_decoder(
    opened: OpenedRun, module: int, name: str | None, *, preferred_name: str | None = None
) -> tuple[FrozenDecoder, Location] | None:
    """Load a trained decoder of the module's output from RUN/decoder.

    Args:
        name: The decoder's folder below RUN/decoder; None chooses one that decodes the module.
        preferred_name: Chosen if several decoders fit; otherwise the last of them by name is.

    Returns:
        The decoder and its folder; None where no trained decoder fits the module.

    Raises:
        ConfigError: RUN has no decoder called `name`, or `name` decodes something else.
    """
    folder = opened.folder.child(DECODERS)
    trained = [n for n in list_decoders(opened.folder) if complete_checkpoints(folder.child(n))]
    if name is not None and name not in trained:
        known = ", ".join(trained) or "none"
        raise ConfigError(f"--decoder {name}, but {folder.uri} has {known}; name one of them")
    fitting: list[tuple[FrozenDecoder, Location]] = []
    for candidate in trained if name is None else [name]:
        path = folder.child(candidate)
        decoder = load_decoder(path.uri, device=opened.device)
        if decoder.module == module and decoder.layer is None:
            fitting.append((decoder, path))
        elif name is not None:
            decodes = f"module {decoder.module}" + (
                "" if decoder.layer is None else f" layer {decoder.layer}"
            )
            raise ConfigError(
                f"--decoder {name} decodes {decodes}, not the output of module {module}; "
                "leave it out, or name another"
            )
    preferred = [pair for pair in fitting if pair[1].name == preferred_name]
    chosen = preferred or fitting
    return chosen[-1] if chosen else None


def missing_decoder(run: Location, module: int) -> str:
    """The reason why an analysis that needs a decoder is skipped, and the command that trains one."""
    return (
        f"module {module} of {run.uri} has no trained decoder; "
        f"`vgim decode train {run.uri} --module {module}` trains one"
    )
