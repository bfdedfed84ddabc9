"""Maps of the latents in two dimensions, colored by what is said and by whom: PCA, t-SNE, TensorBoard's projector.

Shapes: N frames, C channels, K classes.
"""

from __future__ import annotations

from functools import partial
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from vgim.arrays import I64
from vgim.latents.analysis import AnalysisInput, AnalysisOutput, CsvFile, Embedding, Need, PictureFile
from vgim.latents.frame_labels import NO_LABEL, Labeling
from vgim.latents.frame_sample import F32, FrameSample
from vgim.latents.pictures.map import scatter_picture, spectrum_picture
from vgim.latents.result import LatentOptions, Table
from vgim.model.randomness import mix

F64 = NDArray[np.float64]
PERPLEXITY = 30
NEIGHBORS_AT_ONCE = 512


class MapAnalysis:
    """PCA of all frames, t-SNE of some, and whether neighbors share their labels."""

    title: ClassVar[str] = "Maps of the latents"
    needs: ClassVar[frozenset[Need]] = frozenset()

    def run(self, inputs: AnalysisInput) -> AnalysisOutput:
        """Looks at μ, or at the output of a module without a posterior."""
        frames, options = inputs.frames, inputs.options
        rows = choose(frames, options)
        spectrum_C, components_2C, mean_C = principal(frames.mean_NC)
        points_NC = frames.mean_NC[rows]
        pca_N2 = np.asarray((points_NC - mean_C) @ components_2C.T, np.float32)
        tsne_N2 = t_sne(points_NC, options.seed)
        share_C = spectrum_C / max(float(spectrum_C.sum()), 1e-12)
        num_90 = int(np.searchsorted(np.cumsum(share_C), 0.9 - 1e-9)) + 1
        effective = float(spectrum_C.sum() ** 2 / max(float((spectrum_C**2).sum()), 1e-24))
        nearest_N = nearest_elsewhere(points_NC, frames.utterance_N[rows])
        metrics: dict[str, float] = {}
        summary = [
            f"{num_90} of {len(share_C)} principal components hold 90 % of the variance of the latents; their "
            f"effective number (participation ratio) is {effective:.1f}."
        ]
        table: list[tuple[str, float, float, int]] = []
        pictures = []
        for labeling in frames.labelings:
            labels_N = frames.labels[labeling.name][rows]
            same = shared(labels_N, nearest_N)
            if same is not None:
                metrics[f"{labeling.name}_of_neighbour"], metrics[f"{labeling.name}_by_chance"] = same[:2]
                table.append((labeling.name, *same))
            for way, xy_N2 in (("t-SNE", tsne_N2), ("PCA", pca_N2)):
                pictures.append(_picture(way, xy_N2, labels_N, labeling))
        for name, found, chance, _ in table:
            summary.append(
                f"The nearest latent in another utterance has the same {name} in {found:.1%} of cases "
                f"({chance:.1%} by chance)."
            )
        metrics |= {"components_for_90_percent": num_90, "effective_components": effective}
        pictures.append(
            PictureFile(
                "spectrum.png",
                "Variance that the principal components hold.",
                partial(spectrum_picture, share_C),
            )
        )
        return AnalysisOutput(
            summary=summary,
            metrics={**metrics, "num_frames": len(rows)},
            pictures=pictures,
            tables=[
                Table(
                    title="Labels of the nearest latent in another utterance",
                    columns=("label", "the same", "by chance", "frames"),
                    rows=tuple(table),
                )
            ]
            if table
            else [],
            csv_files={"points.csv": _csv_file(frames, rows, pca_N2, tsne_N2)},
            notes=[
                f"t-SNE of {len(rows)} frames, perplexity {perplexity(len(rows))}: distances between its clusters and "
                "their sizes mean little.",
            ],
            embedding=Embedding(points_NC, *_metadata(frames, rows)),
        )


def choose(frames: FrameSample, options: LatentOptions) -> I64:
    """Frames for the map, drawn from those there are."""
    rng = np.random.default_rng(mix("map", options.seed))
    return np.sort(rng.permutation(len(frames.mean_NC))[: options.map_frames])


def principal(x_NC: F32) -> tuple[F64, F32, F32]:
    """Variance along every principal component [C], the first two components [2, C], the mean [C]."""
    from sklearn.decomposition import PCA

    found = PCA(svd_solver="covariance_eigh").fit(x_NC)
    first_2C = found.components_[:2]
    if len(first_2C) < 2:  # one channel
        first_2C = np.concatenate([first_2C, np.zeros_like(first_2C)])
    return found.explained_variance_.astype(np.float64), first_2C.astype(np.float32), found.mean_


def perplexity(num: int) -> int:
    """t-SNE needs more points than this; a third of them at most."""
    return min(PERPLEXITY, max(1, (num - 1) // 3))


def t_sne(x_NC: F32, seed: int) -> F32:
    """The map of van der Maaten & Hinton (2008), started from PCA, [N, 2]."""
    from sklearn.manifold import TSNE

    varies = x_NC[:, x_NC.std(0) > 0]
    if varies.shape[1] < 2:
        return np.zeros((len(x_NC), 2), np.float32)
    made = TSNE(
        perplexity=perplexity(len(x_NC)), init="pca", random_state=mix("t-SNE", seed) % 2**32
    ).fit_transform(varies)
    return np.asarray(made, np.float32)


def nearest_elsewhere(x_NC: F32, utterance_N: I64) -> I64:
    """The nearest point of another owner for each, by Euclidean distance; NO_LABEL where there is no other.

    A frame's neighbor in its own utterance shares its speaker and mostly its phone, whatever the encoder.
    """
    found = np.full(len(x_NC), NO_LABEL)
    square_N = np.square(x_NC).sum(1)
    for start in range(0, len(x_NC), NEIGHBORS_AT_ONCE):
        part = slice(start, start + NEIGHBORS_AT_ONCE)
        distance = square_N[None] - 2 * x_NC[part] @ x_NC.T
        distance[utterance_N[part, None] == utterance_N[None]] = np.inf
        found[part] = np.where(np.isfinite(distance).any(1), distance.argmin(1), NO_LABEL)
    return found


def shared(labels_N: I64, nearest_N: I64) -> tuple[float, float, int] | None:
    """Share of labeled points whose neighbor has their label, what chance gives, and how many points there were.

    Only pairs count of which both are labeled. Chance is Σ p² over the classes of the neighbors' partners.
    """
    with_N = (labels_N != NO_LABEL) & (nearest_N != NO_LABEL)
    with_N[with_N] = labels_N[nearest_N[with_N]] != NO_LABEL
    if not with_N.any():
        return None
    own, other = labels_N[with_N], labels_N[nearest_N[with_N]]
    size = int(max(own.max(), other.max())) + 1
    chance = (np.bincount(own, minlength=size) / len(own)) @ (np.bincount(other, minlength=size) / len(own))
    return float((own == other).mean()), float(chance), len(own)


def _picture(way: str, xy_N2: F32, labels_N: I64, labeling: Labeling) -> PictureFile:
    file = f"{way.lower().replace('-', '')}-{labeling.name}.png"
    caption = f"{way} of the latents, colored by {labeling.name}; a name on the map stands at its median."
    return PictureFile(file, caption, partial(scatter_picture, xy_N2, labels_N, labeling, way))


def _metadata(frames: FrameSample, rows: I64) -> tuple[list[str], list[list[str]]]:
    names = [labeling.name for labeling in frames.labelings]
    metadata = []
    for row in rows:
        own = [frames.utterance_ids[frames.utterance_N[row]], str(frames.frame_N[row])]
        for labeling in frames.labelings:
            label = frames.labels[labeling.name][row]
            own.append("-" if label == NO_LABEL else labeling.classes[label])
        metadata.append(own)
    return ["utterance", "frame", *names], metadata


def _csv_file(frames: FrameSample, rows: I64, pca_N2: F32, tsne_N2: F32) -> CsvFile:
    header, metadata = _metadata(frames, rows)
    places = np.concatenate([pca_N2, tsne_N2], 1).tolist()
    return CsvFile(
        (*header, "pca_1", "pca_2", "tsne_1", "tsne_2"),
        [(*labels, *place) for labels, place in zip(metadata, places, strict=True)],
    )
