"""Results that an earlier command left, which the same command takes instead of computing them again."""

from __future__ import annotations

from vgim.downstream.classifier import hash_features, read_classifier
from vgim.downstream.context import ProbeContext
from vgim.downstream.encoders.kinds import depends_on_seed, feature_source
from vgim.downstream.features.source import FeatureSpec
from vgim.downstream.options import EncoderKind, ProbeOptions
from vgim.downstream.output import Output
from vgim.downstream.predictions import read_predictions
from vgim.downstream.result import ProbeResult, folder_name
from vgim.downstream.stored import read_results
from vgim.downstream.writing import CONFUSION
from vgim.errors import VgimError
from vgim.plotting import can_draw
from vgim.runs.layout import PROBES

SELECTING = {
    "encoders",
    "module",
    "layer",
    "all_layers",
    "concat",
    "cache_features",
    "device",
    "shards",
    "labels",
}
"""Options that choose among results, or change none; shards and labels are told by their hashes."""
PLACES = {"cluster", "storage"}
"""Sections of a run's config that change no encoder."""


def kept_results(context: ProbeContext, kind: EncoderKind, *, pdf: bool = False) -> dict[Output, ProbeResult]:
    """The whole results of an encoder that equal what its probe would compute now, by output.

    They have the same options, data, config and step. Features of trained encoders and MFCCs are compared by the
    hash of all that makes them, so that other weights of the same step are told apart.

    Args:
        pdf: Results without a picture as PDF are left out.
    """
    run = context.opened.folder
    if not run.child(PROBES).exists():
        return {}
    wanted = context.results_of(kind)
    step = context.opened.encoder.checkpoint.state.step if kind == "trained" else None
    found: dict[Output, ProbeResult] = {}
    for result in read_results(run, "", []):
        if (
            (result.task, result.encoder, result.step) == (context.options.task, kind, step)
            and result.output in wanted
            and result.data_fingerprint == context.opened.manifest.fingerprint
            and result.labels == context.labels_digest
            and result.deviations == context.deviations
            and _settings(result.options, kind) == _settings(context.options, kind)
            and result.run_config.model_dump(exclude=PLACES)
            == context.opened.config.model_dump(exclude=PLACES)
            and _is_whole(context, kind, result, pdf=pdf)
        ):
            found[result.output] = result
    return found


def _settings(options: ProbeOptions, kind: EncoderKind) -> dict[str, object]:
    idle = set() if "supervised" in kind else {"supervised_epochs"}
    idle |= {"checkpoint", "sampled"} if kind == "mfcc" else set()
    return options.model_dump(exclude=SELECTING | idle)


def _is_whole(context: ProbeContext, kind: EncoderKind, result: ProbeResult, *, pdf: bool) -> bool:
    """Whether all files of a result are there and readable, and its features are those of today."""
    if not context.task.is_fitted:
        if kind not in ("trained", "mfcc"):
            return True
        source, _ = feature_source(context, kind, 0)
        spec = _spec(source.specs, result)
        return spec is not None and hash_features(source, spec, None) == result.features_sha256
    folder = context.opened.folder.child(PROBES, folder_name(result))
    if pdf and can_draw() and not folder.child("confusion.pdf").exists():
        return False
    if read_predictions(folder) is None or not folder.child(CONFUSION).exists():
        return False
    try:
        info = read_classifier(folder).info
    except VgimError:
        return False
    if kind not in ("trained", "mfcc"):
        return True  # drawn or trained from the config and the data alone, which were compared
    crop = context.opened.config.data if context.uses_crops else None
    seeds = info.seeds if depends_on_seed(context, kind) else info.seeds[:1]
    for seed, made in zip(seeds, info.features_sha256, strict=False):
        source, _ = feature_source(context, kind, seed)
        spec = _spec(source.specs, result)
        if spec is None or hash_features(source, spec, crop) != made:
            return False
    return True


def _spec(specs: tuple[FeatureSpec, ...], result: ProbeResult) -> FeatureSpec | None:
    return next((spec for spec in specs if spec.output == result.output), None)
