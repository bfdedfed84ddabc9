"""AnalysisOutput the decoder of a module among those of a run."""

from __future__ import annotations

from vgim.errors import ConfigError
from vgim.latents.subject import Subject
from vgim.pretrained.decoder import FOLDER, FrozenDecoder, list_decoders, load_decoder
from vgim.runs.checkpoint import complete_checkpoints
from vgim.storage import Location


def find_decoder(
    subject: Subject, module: int, name: str | None, *, prefer: str | None = None
) -> tuple[FrozenDecoder, Location] | None:
    """The decoder below RUN/decoder and where it is; None where no trained one fits the module.

    Args:
        name: Of the decoder's folder; None takes the one of the name `prefer`, or the last by name of those that fit.

    Raises:
        ConfigError: There is no decoder of this name, or it is of another module.
    """
    folder = subject.run.child(FOLDER)
    there = [n for n in list_decoders(subject.run) if complete_checkpoints(folder.child(n))]
    if name is not None and name not in there:
        known = ", ".join(there) or "none"
        raise ConfigError(f"--decoder {name}, but {folder.uri} has {known}; name one of them")
    fitting: list[tuple[FrozenDecoder, Location]] = []
    for candidate in there if name is None else [name]:
        path = folder.child(candidate)
        decoder = load_decoder(path.uri, device=subject.device)
        if decoder.module == module and decoder.layer is None:
            fitting.append((decoder, path))
        elif name is not None:
            what = f"module {decoder.module}" + ("" if decoder.layer is None else f" layer {decoder.layer}")
            raise ConfigError(
                f"--decoder {name} decodes {what}, not the output of module {module}; leave it out, or name another"
            )
    preferred = [one for one in fitting if one[1].name == prefer]
    found = preferred or fitting
    return found[-1] if found else None
