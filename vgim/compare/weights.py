"""The weights of fitted probes, side by side: their densities over several runs, and how evenly they spread.

Shapes: S seeds, K classes, C features.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from vgim.arrays import F64
from vgim.compare.comparison import ComparedWeights, Comparison, WeightScale
from vgim.compare.depth import common_stages, outputs_by_stage
from vgim.compare.read import compared_config
from vgim.downstream.classifier import CLASSIFIER, Classifier, read_classifier
from vgim.downstream.output import Output
from vgim.downstream.result import folder_name
from vgim.downstream.stored import newest_results, read_results, variant
from vgim.errors import ConfigError, StorageError
from vgim.runs.layout import PROBES
from vgim.storage import Location


class ProbeKey(NamedTuple):
    """What was probed."""

    task: str
    variant: str
    module: int
    """Module of the run; of cpc beside greedy encoders, the module that its output corresponds to."""
    layer: int | None


class ProbeWeights(NamedTuple):
    """The weights of the probes of one task and output, of each run by name."""

    key: ProbeKey
    weights_by_run: dict[str, F64]
    """Standardized weights, [S, K, C]."""
    published_by_run: dict[str, F64]
    """Weights on the published scale, [S, K, C]."""

    def of_scale(self, scale: WeightScale) -> dict[str, F64]:
        """The weights of each run on a scale."""
        return self.weights_by_run if scale == "standardized" else self.published_by_run


def read_weights(comparison: Comparison, option: str) -> tuple[list[ProbeWeights], Comparison]:
    """Read the probes of trained encoders that all runs have.

    Args:
        option: The option that asks for weights, with its value, for the error.

    Returns:
        The weights by task and output, and the comparison with their spreads and with notes on what is left out.

    Raises:
        ConfigError: No probe is common to all runs.
    """
    notes = list(comparison.notes)
    configs = {run.name: compared_config(Location(run.uri)) for run in comparison.runs}
    # Modules of greedy encoders do not correspond to the one module of cpc, but to its layers.
    mixed = len({config.family == "cpc" for config in configs.values()}) > 1
    stages = common_stages(list(configs.values())) if mixed else []
    found = {}
    for run in comparison.runs:
        outputs = outputs_by_stage(configs[run.name].model, stages) if mixed else None
        found[run.name] = _classifiers(Location(run.uri), run.name, outputs, notes)
        if outputs and configs[run.name].family == "cpc":
            words = [
                f"{'output' if layer is None else f'layer {layer}'} is in the panel of module {stage}"
                for (_, layer), stage in outputs.items()
            ]
            notes.append(f"{run.name}: of its weights, {', '.join(words)}")
    first = next(iter(found.values()))
    common = [key for key in first if all(key in classifiers for classifiers in found.values())]
    if not common:
        raise ConfigError(
            f"{option}, but no probe of a trained encoder with its {CLASSIFIER} is common to all runs; probe each "
            "with the same --task and --module by `vgim probe`, again if the probe is older than that file"
        )
    for name, classifiers in found.items():
        if alone := [key for key in classifiers if key not in common]:
            words = [f"{key.task} of {Output(key.module, key.layer).name}" for key in alone]
            notes.append(f"{name}: no weights of {', '.join(words)}: not every run has this probe")
    probes = [
        ProbeWeights(
            key,
            {name: standardized(classifiers[key]) for name, classifiers in found.items()},
            {name: published_scale(classifiers[key]) for name, classifiers in found.items()},
        )
        for key in common
    ]
    spreads = tuple(
        ComparedWeights(
            task=probe.key.task,
            variant=probe.key.variant,
            module=probe.key.module,
            layer=probe.key.layer,
            run=name,
            gini=gini(mass(weight_SKC)),
            top_tenth_share=top_tenth_share(mass(weight_SKC)),
            excess_kurtosis=excess_kurtosis(weight_SKC),
        )
        for probe in probes
        for name, weight_SKC in probe.weights_by_run.items()
    )
    return probes, comparison.model_copy(update={"weights": spreads, "notes": tuple(notes)})


def _classifiers(
    run: Location, name: str, outputs: Mapping[tuple[int, int | None], int] | None, notes: list[str]
) -> dict[ProbeKey, Classifier]:
    """The classifiers of a run's trained encoder that have the scale of their features.

    Args:
        outputs: Module of the greedy encoders that each output corresponds to; None if all runs have the same outputs.
    """
    classifiers = {}
    for result in newest_results(read_results(run, name, [])):
        if result.encoder != "trained":
            continue
        folder = run.child(PROBES, folder_name(result))
        if result.module is None:
            notes.append(f"{name}: no weights of {folder.name}: panels are of one module")
            continue
        module, layer = result.module, result.layer
        if outputs is not None:
            if (module, layer) not in outputs:
                notes.append(
                    f"{name}: no weights of {folder.name}: its output corresponds to none of other runs"
                )
                continue
            module, layer = outputs[module, layer], None
        try:
            classifier = read_classifier(folder)
        except StorageError as error:
            notes.append(f"{name}: no weights of {folder.name}: {error}")
            continue
        if classifier.feature_std_SC is None:
            notes.append(
                f"{name}: no weights of {folder.name}: its classifier has no feature_std; probe again"
            )
            continue
        classifiers[ProbeKey(result.task, variant(result), module, layer)] = classifier
    return classifiers


def standardized(classifier: Classifier) -> F64:
    """Weights for features divided by their standard deviation, over the root mean square of all of them, [S, K, C].

    A raw weight is large where its feature is small. The division by the root mean square takes out how strongly the
    probe was regularized, so that shapes compare.
    """
    assert classifier.feature_std_SC is not None
    weight: F64 = (classifier.weight_SKC * classifier.feature_std_SC[:, None]).astype(np.float64)
    return weight / max(float(np.sqrt(np.square(weight).mean())), 1e-30)


def published_scale(classifier: Classifier) -> F64:
    """Raw weights, those of each class mapped linearly so that the least is -1 and the greatest 1, [S, K, C]."""
    weight: F64 = classifier.weight_SKC.astype(np.float64)
    least, greatest = weight.min(2, keepdims=True), weight.max(2, keepdims=True)
    mapped: F64 = 2 * (weight - least) / np.maximum(greatest - least, 1e-30) - 1
    return mapped


def mass(weight_SKC: F64) -> F64:
    """Sum of |weight| of each feature over seeds and classes, [C]."""
    return np.asarray(np.abs(weight_SKC).sum((0, 1)))


def gini(mass_C: F64) -> float:
    """Gini coefficient: 0 if every feature has the same mass, 1 - 1/C if one has all of it."""
    ordered, num, total = np.sort(mass_C), len(mass_C), float(mass_C.sum())
    if total <= 0:
        return 0.0
    return float(2 * (np.arange(1, num + 1) @ ordered) / (num * total) - (num + 1) / num)


def top_tenth_share(mass_C: F64) -> float:
    """Share of the mass in the heaviest tenth of the features, at least one."""
    num = max(1, round(len(mass_C) / 10))
    return float(np.sort(mass_C)[::-1][:num].sum() / max(float(mass_C.sum()), 1e-30))


def excess_kurtosis(weight_SKC: F64) -> float:
    """Fourth moment over the squared second, minus 3: 0 for Gaussian weights, above for few large ones among small."""
    centered = weight_SKC - weight_SKC.mean()
    variance = float(np.square(centered).mean())
    return float((centered**4).mean() / max(variance**2, 1e-30)) - 3
