"""A probe's fitted classifier on sound files: `vgim probe apply`.

Features are made as the probe made them: of the same weights, module, layer, clip and normalization.

Shapes: T frames, C channels, N examples, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

import torch
from pydantic import Field, ValidationError

from vgim.config import RunConfig
from vgim.data.corpora.registry import corpus_traits
from vgim.data.pcm import HOP_SAMPLES, SAMPLE_RATE_HZ, Pcm16
from vgim.data.shards.read import Utterance
from vgim.data.sound_file import read_sound
from vgim.data.stream.crops import first_crop
from vgim.downstream.classifier import CLASSIFIER, Classifier, ClassifierInfo, hash_features, read_classifier
from vgim.downstream.context import open_probe_context
from vgim.downstream.encoders.kinds import feature_source
from vgim.downstream.features.encoder_features import EncoderFeatures, EncoderOutput
from vgim.downstream.features.mfcc import Mfcc
from vgim.downstream.features.source import FeatureSource, stream_features
from vgim.downstream.options import ResultModel
from vgim.downstream.probes.own_labels import OwnLabelsProbe
from vgim.downstream.probes.probe import Probe
from vgim.downstream.probes.registry import probe_class
from vgim.downstream.result import ProbeResult
from vgim.downstream.writing import read_result
from vgim.errors import CheckpointError, ConfigError, DataError, StorageError
from vgim.model.audio import measure, to_float
from vgim.pretrained.encoder import load_encoder
from vgim.progress import SILENT, Progress
from vgim.runs.layout import CHECKPOINTS, RESULT
from vgim.storage import Location
from vgim.text import first_problem

NO_WEIGHTS = (
    "the weights of an encoder that is trained on labels are not kept; apply a probe of --encoder trained, random or "
    "mfcc"
)


class Segment(ResultModel):
    """Consecutive 10 ms of one predicted class."""

    start_s: float
    end_s: float
    label: str
    probability: float
    """Mean over the 10 ms."""


class FilePrediction(ResultModel):
    """What the classifier says of a file."""

    file: str
    label: str | None = None
    """Class of the whole file; None for a task with a class every 10 ms."""
    probability: float | None = None
    """Probability of `label`."""
    probabilities: dict[str, float] = Field(default_factory=dict)
    """Probability of each class for the whole file."""
    segments: tuple[Segment, ...] = ()
    """For a task with a class every 10 ms."""


@dataclass(frozen=True)
class AppliedProbe:
    """A loaded classifier with the source of its features."""

    result: ProbeResult
    classifier: Classifier
    source: FeatureSource
    task: type[Probe]
    seed: int

    def predict(self, file: str, progress: Progress = SILENT) -> FilePrediction:
        """Predict the class of a sound file, or of its segments.

        Args:
            file: A path or URI, of any format and sample rate that libsndfile reads.
            progress: Where to report a note if the file is resampled or mixed down.

        Raises:
            DataError: The file is no audio, or too short.
        """
        utterance = _read(Location(file), self.classifier.info.corpus, progress.message)
        cut = _cut(self.result.run_config) if _uses_crops(self.result) else _whole
        encoded = list(stream_features(self.source, [utterance], cut))
        if not encoded:
            raise DataError(f"{file} has {len(utterance.audio)} samples at 16 kHz: too short for the probe")
        (_, (features_TC,)), spec = encoded[0], self.source.specs[0]
        x_NC = self.task.pool(features_TC, spec.hop_samples, len(utterance.audio))
        p_NK = self.classifier.log_probabilities(x_NC, self.seed).exp()
        classes = self.classifier.info.classes
        if self.task.unit == "frame":
            return FilePrediction(file=file, segments=tuple(segments(p_NK, classes)))
        best = int(p_NK[0].argmax())
        return FilePrediction(
            file=file,
            label=classes[best],
            probability=float(p_NK[0, best]),
            probabilities=dict(zip(classes, p_NK[0].tolist(), strict=True)),
        )


def open_applied(folder: str, seed: int = 0, progress: Progress = SILENT) -> AppliedProbe:
    """Load a probe's classifier and the encoder of its features, on the CPU.

    Args:
        folder: RUN/probes/NAME, a path or a URI.
        seed: Seed of the classifier, if the probe has several.
        progress: Where to report that the encoder is loaded or drawn.

    Raises:
        VgimError: The folder is no probe's, its files are damaged or of two probes, or its encoder is not kept or has
            changed.
    """
    place = Location(folder)
    result = _read_result(place)
    if result.label_epochs:
        raise ConfigError(f"{folder} is of --encoder {result.encoder}: {NO_WEIGHTS}")
    if not result.is_fitted:
        raise ConfigError(
            f"{folder} is of --task {result.task}, which fits no classifier; name another probe"
        )
    classifier = read_classifier(place)
    _refuse_another_probe(place, classifier.info, result)
    if seed not in classifier.info.seeds:
        raise ConfigError(
            f"--seed {seed}, but the probe has the seeds {', '.join(map(str, classifier.info.seeds))}; use one of them"
        )
    run = place.parent.parent
    with progress.stage(
        "preparing MFCCs" if result.encoder == "mfcc" else f"preparing the {result.encoder} encoder"
    ):
        source = _source(run, result, seed)
    crop = result.run_config.data if _uses_crops(result) else None
    made = hash_features(source, source.specs[0], crop)
    if made != classifier.info.features_sha256[classifier.info.seeds.index(seed)]:
        raise CheckpointError(
            f"the features of {folder} can't be made again: the weights, the normalization or the crops of {run.uri} "
            "are others than those that were probed; probe again"
        )
    return AppliedProbe(result, classifier, source, probe_class(result.task), seed)


def segments(p_NK: torch.Tensor, classes: Sequence[str]) -> Iterator[Segment]:
    """Join consecutive 10 ms of one class."""
    best = p_NK.max(1)
    labels, probabilities = best.indices.tolist(), best.values.tolist()
    start = 0
    for end in range(1, len(labels) + 1):
        if end == len(labels) or labels[end] != labels[start]:
            yield Segment(
                start_s=start * HOP_SAMPLES / SAMPLE_RATE_HZ,
                end_s=end * HOP_SAMPLES / SAMPLE_RATE_HZ,
                label=classes[labels[start]],
                probability=sum(probabilities[start:end]) / (end - start),
            )
            start = end


def _read_result(place: Location) -> ProbeResult:
    if not place.child(RESULT).exists():
        raise StorageError(f"{place.uri} is no probe: it has no {RESULT}; name a folder RUN/probes/NAME")
    try:
        return read_result(place)
    except ValidationError as error:
        raise StorageError(
            f"{place.child(RESULT).uri} does not read as a probe's result ({first_problem(error)}); name a folder "
            "RUN/probes/NAME of a probe, or probe again"
        ) from error


def _refuse_another_probe(place: Location, info: ClassifierInfo, result: ProbeResult) -> None:
    told = _what_is_probed(result)
    for name, value in _what_is_probed(info).items():
        if value != told[name]:
            raise StorageError(
                f"{CLASSIFIER} and {RESULT} in {place.uri} are of two probes: {name} is {value} and {told[name]}; copy "
                "whole folders, or probe again"
            )


def _what_is_probed(record: ClassifierInfo | ProbeResult) -> dict[str, object]:
    own = ("task", "encoder", "module", "layer", "concat", "data_fingerprint")
    options = record.options.model_dump(exclude={"encoders", "all_layers", "cache_features", "device"})
    return {**options, **{name: getattr(record, name) for name in own}}


def _uses_crops(result: ProbeResult) -> bool:
    return probe_class(result.task).uses_crops and not result.options.whole_utterances


def _source(run: Location, result: ProbeResult, seed: int) -> FeatureSource:
    """The features of a seed, as the probe made them."""
    if result.encoder == "mfcc":
        return Mfcc()
    outputs = () if result.module is None else (EncoderOutput(result.module, result.layer),)
    if result.encoder == "random":
        options = result.options.model_copy(
            update={
                "module": -1 if result.module is None else result.module,
                "layer": result.layer,
                "all_layers": False,
                "concat": result.concat or False,
                "device": "cpu",
                "checkpoint": "last",
                "encoders": ("random",),
                "shards": result.data,
            }
        )
        # The classifier has its classes, and a random encoder no labels: the table may be gone.
        task = None if options.labels is None else OwnLabelsProbe(result.task, {})
        context = replace(open_probe_context(run.uri, options, task=task), outputs=outputs)
        source, _ = feature_source(context, "random", seed)
        return source
    assert result.checkpoint is not None
    named = Location(result.checkpoint)
    here = run.child(CHECKPOINTS, PurePosixPath(result.checkpoint).name)  # the run may have moved
    found = next((place for place in (here, named) if place.exists()), None)
    if found is None:
        raise CheckpointError(
            f"the probe read the checkpoint {named.uri}, which is gone; probe the run again, or train with a larger "
            "train.keep_last"
        )
    encoder = load_encoder(found.uri)
    sample_seed = seed if result.options.sampled else None
    return EncoderFeatures(encoder.encoder, encoder.normalizer, outputs, sample_seed, result.concat)


def _read(path: Location, corpus: str, log: Callable[[str], None]) -> Utterance:
    audio = read_sound(path.uri, log)
    statistics = measure(to_float(torch.from_numpy(audio)[None]))
    return Utterance(
        utterance_id=corpus_traits(corpus, None).utterance_id(path.uri),  # seeds the samples of the posterior
        speaker_id="",
        transcript="",
        audio=audio,
        phones=None,
        mean=float(statistics.mean),
        std=float(statistics.std),
    )


def _whole(utterance: Utterance) -> Pcm16:
    return utterance.audio


def _cut(config: RunConfig) -> Callable[[Utterance], Pcm16 | None]:
    return lambda utterance: first_crop(utterance.audio, config.data)
