"""The fitted classifier of a probe: `classifier.safetensors` beside its `result.json`.

The tensors are `weight` [K, C], `bias` [K] and `feature_std` [C] of the first seed, and `weight.1`, `bias.1`,
`feature_std.1`, … of further seeds, float32, for raw features. Older files have no `feature_std`. The metadata are the
fields of `ClassifierInfo`, each as JSON, and `sha256`, the SHA-256 of these fields and the tensors.

Shapes: S seeds, K classes, C features.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from vgim.arrays import F32
from vgim.config.schema import DataConfig
from vgim.downstream.options import EncoderKind, ProbeOptions
from vgim.downstream.probes.registry import AnyTask, ExampleUnit
from vgim.downstream.result import ProbeResult
from vgim.errors import StorageError
from vgim.storage import Location
from vgim.text import first_problem

if TYPE_CHECKING:  # whoever compares classifiers needs no torch
    from torch import Tensor

    from vgim.downstream.features.source import FeatureSource, FeatureSpec
    from vgim.downstream.fit import SeedFit
    from vgim.pretrained.opened_run import OpenedRun

CLASSIFIER = "classifier.safetensors"


class ClassifierInfo(BaseModel):
    """What a classifier was fitted to."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    schema_version: Literal[1] = 1
    task: AnyTask
    classes: tuple[str, ...]
    """Name of each class."""
    unit: ExampleUnit
    encoder: EncoderKind
    module: int | None
    layer: int | None
    concat: tuple[int, ...] = ()
    """Modules whose outputs are concatenated."""
    run: str
    """Folder of the run when the probe was computed."""
    checkpoint: str | None
    """Checkpoint of a trained encoder."""
    step: int | None
    options: ProbeOptions
    corpus: str
    """Name of the corpus, which decides the utterance id of a file."""
    data_fingerprint: str
    seeds: tuple[int, ...]
    features_sha256: tuple[str, ...]
    """For each seed, SHA-256 of all that makes features of audio: see `hash_features`."""


class Classifier(NamedTuple):
    """Linear classifiers of raw features, one for each seed."""

    info: ClassifierInfo
    weight_SKC: F32
    bias_SK: F32
    feature_std_SC: F32 | None = None
    """Standard deviation of each feature over the train split; None in older files."""

    def log_probabilities(self, x_NC: Tensor, seed: int = 0) -> Tensor:
        """Log-probability of each class, [N, K], by the classifier of a seed."""
        import torch

        index = self.info.seeds.index(seed)
        bias_K, weight_KC = torch.from_numpy(self.bias_SK[index]), torch.from_numpy(self.weight_SKC[index])
        return torch.addmm(bias_K, x_NC, weight_KC.T).log_softmax(1)


def hash_features(source: FeatureSource, spec: FeatureSpec, crop: DataConfig | None) -> str:
    """SHA-256 of all that makes features of audio: weights, normalization, seed of samples, module, layer and clip.

    Args:
        spec: One of the source's specs.
        crop: Kind and length of the crops; None for whole utterances.
    """
    clip = "whole" if crop is None else [crop.crop, crop.crop_samples]
    made = {**source.identity(), "view": spec.view(), "clip": clip}
    return hashlib.sha256(json.dumps(made, sort_keys=True).encode()).hexdigest()


def classifier_of(
    opened: OpenedRun, result: ProbeResult, fits: Sequence[SeedFit], features_sha256: Sequence[str]
) -> Classifier:
    """The classifier of a probe's result.

    Args:
        opened: The run and the shards that were probed.
        fits: The fit of each seed.
        features_sha256: `hash_features` of each seed's source.
    """
    weight_SKC = np.stack([fit.fitted.weight_KC.cpu().float().numpy() for fit in fits])
    bias_SK = np.stack([fit.fitted.bias_K.cpu().float().numpy() for fit in fits])
    feature_std_SC = np.stack([fit.feature_std_C.cpu().float().numpy() for fit in fits])
    info = ClassifierInfo(
        task=result.task,
        classes=tuple(result.per_class),
        unit=result.unit,
        encoder=result.encoder,
        module=result.module,
        layer=result.layer,
        concat=result.concat,
        run=opened.folder.uri,
        checkpoint=result.checkpoint,
        step=result.step,
        options=result.options,
        corpus=opened.manifest.corpus,
        data_fingerprint=result.data_fingerprint,
        seeds=tuple(fit.seed for fit in fits),
        features_sha256=tuple(features_sha256),
    )
    return Classifier(info, weight_SKC, bias_SK, feature_std_SC)


def to_safetensors(classifier: Classifier) -> bytes:
    """A classifier as a safetensors file."""
    import safetensors.numpy

    tensors = {}
    for index in range(len(classifier.info.seeds)):
        weight, bias, feature_std = _names(index)
        tensors[weight] = np.ascontiguousarray(classifier.weight_SKC[index])
        tensors[bias] = np.ascontiguousarray(classifier.bias_SK[index])
        if classifier.feature_std_SC is not None:
            tensors[feature_std] = np.ascontiguousarray(classifier.feature_std_SC[index])
    metadata = {name: json.dumps(value) for name, value in classifier.info.model_dump(mode="json").items()}
    metadata["sha256"] = json.dumps(_hash(tensors, metadata))
    data: bytes = safetensors.numpy.save(tensors, metadata)
    return data


def read_classifier(folder: Location) -> Classifier:
    """Read the classifier in a probe's folder. Reading it executes nothing in it.

    Args:
        folder: RUN/probes/NAME.

    Raises:
        StorageError: There is none, or the file is damaged.
    """
    import safetensors.numpy

    path = folder.child(CLASSIFIER)
    if not path.exists():
        raise StorageError(
            f"{folder.uri} holds no {CLASSIFIER}; name a folder RUN/probes/NAME of a probe, or probe again if it is "
            "older than classifiers that are kept"
        )
    data = path.read_bytes()
    try:
        tensors: dict[str, Any] = safetensors.numpy.load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        metadata = header.get("__metadata__", {})
        info = ClassifierInfo.model_validate({name: json.loads(value) for name, value in metadata.items()})
    except ValidationError as error:
        raise _damaged(path, first_problem(error)) from error
    except (safetensors.SafetensorError, ValueError, KeyError, RecursionError) as error:
        raise _damaged(path, " ".join(str(error).split()) or type(error).__name__) from error
    has_std = _names(0)[2] in tensors
    names = [name for index in range(len(info.seeds)) for name in _names(index)[: 3 if has_std else 2]]
    if not names or set(names) != set(tensors) or len(info.features_sha256) != len(info.seeds):
        raise _damaged(path, f"it holds the tensors {', '.join(sorted(tensors)) or 'none'}")
    each = len(names) // len(info.seeds)
    weights, biases = [tensors[name] for name in names[::each]], [tensors[name] for name in names[1::each]]
    stds = [tensors[name] for name in names[2::each]] if has_std else []
    num_classes = len(info.classes)
    first = weights[0]
    fits = (
        all(w.shape == first.shape and w.dtype == np.float32 for w in weights)
        and all(b.shape == (num_classes,) and b.dtype == np.float32 for b in biases)
        and all(std.shape == first.shape[1:] and std.dtype == np.float32 for std in stds)
    )
    if first.ndim != 2 or len(first) != num_classes or not fits:
        raise _damaged(
            path, f"a weight has the shape {list(first.shape)}, and there are {num_classes} classes"
        )
    weight_SKC, bias_SK = np.stack(weights), np.stack(biases)
    std_SC = np.stack(stds) if stds else None
    if json.dumps(_hash(tensors, metadata)) != metadata.get("sha256"):
        raise _damaged(path, "its SHA-256 is not the one in its metadata")
    return Classifier(info, weight_SKC, bias_SK, std_SC)


def _names(index: int) -> tuple[str, str, str]:
    """Names of a seed's tensors in the file."""
    end = f".{index}" if index else ""
    return f"weight{end}", f"bias{end}", f"feature_std{end}"


def _hash(tensors: Mapping[str, F32], metadata: Mapping[str, str]) -> str:
    """SHA-256 of the tensors and of the metadata without their `sha256`."""
    fields = {name: value for name, value in metadata.items() if name != "sha256"}
    digest = hashlib.sha256(json.dumps(fields, sort_keys=True).encode())
    for _, tensor in sorted(tensors.items()):
        digest.update(tensor.tobytes())
    return digest.hexdigest()


def _damaged(path: Location, reason: str) -> StorageError:
    return StorageError(f"{path.uri} is not a probe's classifier: {reason[:200]}; probe again")
