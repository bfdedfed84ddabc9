"""`vgim export`: from a run's name to checked files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from vgim.errors import ConfigError, StorageError
from vgim.export.check import Run, check_export
from vgim.export.description import describe, folder_contents, tensors_of
from vgim.export.torch_files import (
    exported_program_bytes,
    exported_program_runner,
    portable_encoder,
    portable_runner,
    torchscript_bytes,
    torchscript_runner,
)
from vgim.pretrained.encoder import FrozenEncoder, load_encoder
from vgim.pretrained.exported import ExportedConfig, is_export
from vgim.progress import SILENT, Progress
from vgim.runs.layout import STATE
from vgim.storage import Location, write_folder

FileForm = Literal["onnx", "torchscript", "torch-export"]
Form = Literal["folder", "onnx", "torchscript", "torch-export", "hub"]
FILE_NAMES: dict[FileForm, str] = {
    "onnx": "encoder.onnx",
    "torchscript": "encoder.ts",
    "torch-export": "encoder.pt2",
}
"""Name of the file that each form writes by default."""


@dataclass(frozen=True)
class Exported:
    """What was written."""

    where: str
    """Path or URI of the folder or file, or hf://OWNER/NAME@COMMIT."""
    num_bytes: int
    largest_difference: float
    """Largest difference from the encoder, over the largest of the encoder's values, over all modules."""


def export_run(
    where: str,
    to: Form,
    out: str | None = None,
    *,
    which: str = "last",
    repo: str = "",
    private: bool = False,
    license_id: str = "",
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> Exported:
    """Export the encoder of a run, checked before anything is written under its name.

    Args:
        where: Run, checkpoint, exported folder or hf://OWNER/NAME.
        to: Form of the export.
        out: Path or URI of the folder or file; None for RUN/export/FORM, or RUN/export/CHECKPOINT-FORM for a
            checkpoint. Not for the hub.
        which: `last`, or `best` for the checkpoint of lowest validation loss.
        repo: OWNER/NAME on the hub.
        private: Whether a repository that is made on the hub is private.
        license_id: License of the weights for the card.
        overwrite: Replace an export that is there.
        progress: Where to report.

    Raises:
        VgimError: There is no such encoder, the place is taken, a package is missing, or the export differs from the
            encoder.
    """
    with progress.stage(f"exporting to {to}") as stage:
        stage.update(detail="loading the encoder")
        target = None if to == "hub" else _target(where, to, out, overwrite)
        encoder = load_encoder(where, which=which)
        notes: list[str] = []
        config = describe(encoder, license_id, notes)
        for note in notes:
            progress.message(note)
        tensors = tensors_of(encoder)
        if target is None:
            from vgim.export.hub import push

            stage.update(detail="comparing with the encoder")
            difference = _check_folder(config, tensors, encoder)
            stage.update(detail=f"uploading to {repo}")
            contents = folder_contents(encoder, config, repo)
            commit = push(repo, contents, private=private, overwrite=overwrite)
            return Exported(commit, sum(map(len, contents.values())), difference)
        if to == "folder":
            stage.update(detail="comparing with the encoder")
            difference = _check_folder(config, tensors, encoder)
            contents = folder_contents(encoder, config)
            write_folder(target, contents)
            return Exported(target.uri, sum(map(len, contents.values())), difference)
        stage.update(detail="writing the graph")
        data, run = _file(to, config, tensors)  # type: ignore[arg-type]
        stage.update(detail="comparing with the encoder")
        # torch.export takes a size of 1 for a constant, so that its programs make two frames or more.
        min_frames: Literal[1, 2] = 2 if to == "torch-export" else 1
        difference = check_export(run(data), encoder, f"--to {to}", min_frames=min_frames)
        target.write_bytes_atomic(data)
        return Exported(target.uri, len(data), difference)


def _target(where: str, to: str, out: str | None, overwrite: bool) -> Location:
    """Where an export goes, checked before the work.

    Raises:
        ConfigError: There is no default place.
        StorageError: Something is there already.
    """
    if out is None:
        if where.startswith("hf://"):
            raise ConfigError(f"RUN is {where}, which is no folder to write into; give --out")
        name = "folder" if to == "folder" else FILE_NAMES[to]  # type: ignore[index]
        source = Location(where)
        if is_export(source):
            raise ConfigError(
                f"RUN is {source.uri}, an exported folder, into which no other export goes; give --out"
            )
        if source.child(
            STATE
        ).exists():  # the checkpoint may be deleted while training goes on, with all that it holds
            source, name = source.parent.parent, f"{source.name}-{name}"
        target = source.child("export", name)
    else:
        target = Location(out)
    if not target.exists():
        return target
    if to != "folder":
        if target.is_dir():
            raise StorageError(f"{target.uri} is a folder; give --out a file, such as {FILE_NAMES[to]}")  # type: ignore[index]
    elif not target.is_dir():
        raise StorageError(f"{target.uri} is a file; give --out another name")
    elif not target.list():
        return target
    elif not is_export(target):
        raise StorageError(f"{target.uri} holds other files than an export; give --out a folder of its own")
    if not overwrite:
        raise StorageError(f"{target.uri} exists; give --out another name, or --overwrite to replace it")
    return target


def _check_folder(config: ExportedConfig, tensors: dict[str, Tensor], encoder: FrozenEncoder) -> float:
    return check_export(portable_runner(portable_encoder(config, tensors)), encoder, "the folder's module")


def _file(
    to: FileForm, config: ExportedConfig, tensors: dict[str, Tensor]
) -> tuple[bytes, Callable[[bytes], Run]]:
    """The content of a file, and what runs it."""
    if to == "onnx":
        from vgim.export.onnx_file import onnx_bytes, onnx_runner

        return onnx_bytes(config, {name: tensor.numpy() for name, tensor in tensors.items()}), onnx_runner
    network = portable_encoder(config, tensors)
    if to == "torchscript":
        return torchscript_bytes(network), torchscript_runner
    return exported_program_bytes(network, config), exported_program_runner
