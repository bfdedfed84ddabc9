"""An encoder as exported files: `config.json`, the weights, the model card and the module that loads them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

import jinja2
import safetensors.torch
from torch import Tensor

from vgim.config import RunConfig
from vgim.config.schema import DataConfig
from vgim.export.facts import collect_facts, with_name_of_source
from vgim.pretrained.encoder import FrozenEncoder
from vgim.pretrained.exported import (
    CONFIG,
    LOSS_ONLY,
    WEIGHTS,
    ExportedConfig,
    NormalizeRecord,
    is_export,
    module_records,
    read_exported_config,
)
from vgim.runs.environment import git_revision, package_versions, utc_now
from vgim.runs.training_state import FileStamp
from vgim.text import format_number

CARD, LOADER = "README.md", "vgim_encoder.py"
NOT_EXPORTED = "not-exported"
"""In place of the path of the shards, which others do not have and which may name people or machines."""


def describe(encoder: FrozenEncoder, license_id: str, notes: list[str]) -> ExportedConfig:
    """The content of an encoder's `config.json`.

    An encoder of an exported folder keeps the facts that the folder has.

    Args:
        license_id: License of the weights; empty if it is not stated.
        notes: What could not be read of the run is added here.
    """
    checkpoint, stack = encoder.checkpoint, encoder.encoder
    if is_export(checkpoint.location):
        facts = read_exported_config(checkpoint.location).facts
        facts = facts.model_copy(update={"license": license_id or facts.license})
    else:
        facts = collect_facts(checkpoint, encoder.config, license_id, notes)
    corpus = encoder.normalizer.corpus
    weights = weights_bytes(encoder)
    versions = {name: version for name, version in package_versions().items() if name != "ray"}
    return ExportedConfig(
        family=encoder.config.family,
        normalize=NormalizeRecord(
            mode=encoder.normalizer.mode,
            mean=None if corpus is None else float(corpus.mean),
            std=None if corpus is None else float(corpus.std),
        ),
        min_samples=max(stack.min_samples(index) for index in range(len(stack))),
        modules=module_records(stack),
        facts=facts,
        run_config=public_config(encoder.config),
        training={**json.loads(checkpoint.state.model_dump_json()), "files": {}},
        versions={**versions, "revision": git_revision()},
        created=utc_now(),
        files={WEIGHTS: FileStamp(bytes=len(weights), sha256=hashlib.sha256(weights).hexdigest())},
    )


def public_config(config: RunConfig) -> dict[str, Any]:
    """A run's config without what belongs to the machine: paths, addresses, the cluster."""
    content = with_name_of_source(config).model_dump(
        mode="json", exclude={"cluster": True, "storage": {"root"}}
    )
    no_cache = {key: DataConfig.model_fields[key].default for key in ("cache_dir", "cache_gib")}
    content["data"] |= {"shards": NOT_EXPORTED, **no_cache}
    return content


def tensors_of(encoder: FrozenEncoder) -> dict[str, Tensor]:
    """Weights and BatchNorm statistics on the CPU in fp32, without what the loss alone needs."""
    return {
        name: (tensor.float() if tensor.is_floating_point() else tensor).cpu().contiguous()
        for name, tensor in encoder.encoder.state_dict().items()
        if LOSS_ONLY not in name
    }


def weights_bytes(encoder: FrozenEncoder) -> bytes:
    """The content of `model.safetensors`; the same weights give the same bytes."""
    data: bytes = safetensors.torch.save(tensors_of(encoder), metadata={"format": "pt"})
    return data


def folder_contents(encoder: FrozenEncoder, config: ExportedConfig, repo: str = "") -> Mapping[str, bytes]:
    """Content of each file of an exported folder, `config.json` last.

    Args:
        config: From `describe`.
        repo: OWNER/NAME on the hub, for the card's examples; empty for a folder.
    """
    return {
        WEIGHTS: weights_bytes(encoder),
        LOADER: loader_source(),
        CARD: model_card(config, repo).encode(),
        CONFIG: (config.model_dump_json(indent=1) + "\n").encode(),
    }


def loader_source() -> bytes:
    """The module that loads an exported folder with torch and safetensors alone."""
    return resources.files("vgim.export").joinpath(LOADER).read_bytes()


def model_card(config: ExportedConfig, repo: str = "") -> str:
    """The model card, Markdown with the hub's front matter.

    Args:
        config: The content of `config.json`; the card tells nothing else.
        repo: OWNER/NAME on the hub; empty for a folder.
    """
    text: str = (
        _templates()
        .get_template("card.md")
        .render(config=config, facts=config.facts, run=RunConfig.model_validate(config.run_config), repo=repo)
    )
    return text


@cache
def _templates() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("vgim.export"),
        autoescape=False,  # Markdown; texts of users go through `cell`
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["number"] = format_number
    environment.filters["cell"] = markdown_cell
    environment.filters["yaml"] = lambda text: json.dumps(str(text))
    return environment


def markdown_cell(text: object) -> str:
    """A text on one line, whose marks Markdown does not read."""
    return "".join(f"\\{mark}" if mark in "\\`*_{}[]<>|#" else mark for mark in " ".join(str(text).split()))
