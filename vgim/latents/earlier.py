"""Results of an earlier call of the same command, which an interrupted analysis does not compute again."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from vgim.errors import StorageError
from vgim.latents.result import AnalysisResult, LatentOptions
from vgim.latents.writing import analysis_folder, read_result
from vgim.pretrained.decoder import FrozenDecoder
from vgim.pretrained.opened_run import OpenedRun
from vgim.runs.checkpoint import Checkpoint
from vgim.runs.environment import git_revision, package_versions
from vgim.runs.layout import RESULT

NO_MATTER = {"only", "module"}
"""Options that choose analyses and modules, and change none of their numbers."""


def weights_of(opened: OpenedRun, decoder: FrozenDecoder | None) -> dict[str, str]:
    """SHA-256 of the weights that an analysis of a run reads, by the checkpoint's URI.

    Args:
        opened: The run.
        decoder: The decoder that the analysis needs; None if it needs none.
    """
    checkpoints: list[Checkpoint] = [opened.encoder.checkpoint]
    if decoder is not None:
        checkpoints.append(decoder.checkpoint)
    return {each.location.uri: each.sha256_for_readers for each in checkpoints}


def earlier_result(
    opened: OpenedRun,
    module: int,
    name: str,
    options: LatentOptions,
    weights: Mapping[str, str],
    *,
    pdf: bool,
) -> AnalysisResult | None:
    """The stored result of an analysis, if computing it again would give the same; else None.

    Args:
        opened: The run.
        module: Index of the module.
        name: The analysis's name in the registry.
        options: Options of this call.
        weights: What `weights_of` says of the run and of all runs compared with.
        pdf: Whether pictures are wanted as PDF too.
    """
    folder = analysis_folder(opened.folder, module, name)
    if not folder.child(RESULT).exists():
        return None
    with suppress(StorageError):  # a damaged result is made anew
        result = read_result(folder)
        files = [*result.data_files, *(picture.file for picture in result.pictures)]
        if pdf:
            files += [f"{picture.file.removesuffix('.png')}.pdf" for picture in result.pictures]
        if (
            result.weights == dict(weights)
            and result.data_fingerprint == opened.manifest.fingerprint
            and result.labels == opened.manifest.labels_digest
            and result.versions == package_versions()
            and result.git_revision == git_revision()
            and _settings(result.options) == _settings(options)
            and all(folder.child(file).exists() for file in files)
        ):
            return result
    return None


def _settings(options: LatentOptions) -> dict[str, object]:
    return options.model_dump(exclude=NO_MATTER)
