"""Maps of frames and of utterances in two dimensions, colored by label: PCA, t-SNE, and points for TensorBoard.

Shapes: N frames, U utterances, C channels, K classes.
"""

from __future__ import annotations

from functools import partial
from typing import ClassVar

import numpy as np

from vgim.arrays import F32, F64, I64
from vgim.latents.analysis import AnalysisInput, AnalysisOutput, CsvFile, Embedding, Need, PictureFile
from vgim.latents.frame_labels import NO_LABEL, Labeling
from vgim.latents.frame_sample import FrameSample
from vgim.latents.pictures.map import scatter_picture, spectrum_picture
from vgim.latents.result import Curve, LatentOptions, Table
from vgim.model.randomness import mix

PERPLEXITY = 30
FEWEST_UTTERANCES = 5
NEIGHBORS_AT_ONCE = 512


class MapAnalysis:
    """PCA of all frames, t-SNE of some frames and of utterances, and how often nearest neighbors share a label."""

    title: ClassVar[str] = "Maps of the latents"
    needs: ClassVar[frozenset[Need]] = frozenset()

    def run(self, inputs: AnalysisInput) -> AnalysisOutput:
        """Map μ, or the output of a module without a posterior."""
        frames, options = inputs.frames, inputs.options
        rows = choose_frames(frames, options)
        spectrum_C, components_2C, mean_C = principal(frames.mean_NC)
        points_NC = frames.mean_NC[rows]
        pca_N2 = np.asarray((points_NC - mean_C) @ components_2C.T, np.float32)
        tsne_N2 = t_sne(points_NC, options.seed)
        share_C = spectrum_C / max(float(spectrum_C.sum()), 1e-12)
        num_90 = int(np.searchsorted(np.cumsum(share_C), 0.9 - 1e-9)) + 1
        effective = float(spectrum_C.sum() ** 2 / max(float((spectrum_C**2).sum()), 1e-24))
        utterance_N = frames.utterance_N[rows]
        nearest_N = nearest_elsewhere(points_NC, utterance_N)
        metrics: dict[str, float] = {}
        summary = [
            f"{num_90} of {len(share_C)} principal components hold 90 % of the variance of the latents. The "
            f"effective number of components (participation ratio) is {effective:.1f}."
        ]
        table: list[tuple[str, float, float, int]] = []
        pictures, headlines = [], list[str]()
        for labeling in frames.labelings:
            labels_N = frames.labels[labeling.name][rows]
            shared = shared_labels(labels_N, nearest_N, utterance_N)
            if shared is not None:
                metrics[f"{labeling.name}_of_neighbour"], metrics[f"{labeling.name}_by_chance"] = shared[:2]
                headlines.append(f"{labeling.name}_of_neighbour")
                table.append((labeling.name, *shared))
            for method, xy_N2 in (("t-SNE", tsne_N2), ("PCA", pca_N2)):
                pictures.append(_picture(method, xy_N2, labels_N, labeling))
        for name, share, chance, _ in table:
            summary.append(
                f"The nearest frame of another utterance has the same {name} in {share:.1%} of cases "
                f"({chance:.1%} by chance)."
            )
        metrics |= {"components_for_90_percent": num_90, "effective_components": effective}
        pictures.append(
            PictureFile(
                "spectrum.png",
                "Share of the variance in the first n principal components; the dashed line is 90 %.",
                partial(spectrum_picture, share_C),
            )
        )
        output = AnalysisOutput(
            summary=summary,
            metrics={**metrics, "num_frames": len(rows)},
            headlines=headlines,
            pictures=pictures,
            tables=[
                Table(
                    title="Labels of the nearest frame of another utterance",
                    columns=("label", "share with the same label", "by chance", "frames"),
                    rows=tuple(table),
                )
            ]
            if table
            else [],
            curves=[
                Curve(
                    title="Share of the variance in the first principal components",
                    x_label="principal components",
                    y_label="share of the variance",
                    x=tuple(float(i) for i in range(1, len(share_C) + 1)),
                    y=tuple(np.cumsum(share_C).tolist()),
                )
            ],
            csv_files={"points.csv": _csv_file(frames, rows, pca_N2, tsne_N2)},
            notes=[
                f"t-SNE maps {len(rows)} frames with perplexity {perplexity(len(rows))}; sizes of clusters and "
                "distances between them mean little.",
            ],
            embedding=Embedding(points_NC, *_point_labels(frames, rows)),
        )
        add_utterances(output, frames, options.seed)
        return output


def choose_frames(frames: FrameSample, options: LatentOptions) -> I64:
    """Indices of the frames to map, a random choice in ascending order."""
    rng = np.random.default_rng(mix("map", options.seed))
    return np.sort(rng.permutation(len(frames.mean_NC))[: options.map_frames])


def principal(x_NC: F32) -> tuple[F64, F32, F32]:
    """Variance along each principal component, [C]; the first two components, [2, C]; the mean, [C]."""
    from sklearn.decomposition import PCA

    pca = PCA(svd_solver="covariance_eigh").fit(x_NC)
    first_2C = pca.components_[:2]
    if len(first_2C) < 2:  # one channel
        first_2C = np.concatenate([first_2C, np.zeros_like(first_2C)])
    return pca.explained_variance_.astype(np.float64), first_2C.astype(np.float32), pca.mean_


def perplexity(num: int) -> int:
    """Perplexity of t-SNE for `num` points: PERPLEXITY, or a third of the points if they are few."""
    return min(PERPLEXITY, max(1, (num - 1) // 3))


def t_sne(x_NC: F32, seed: int) -> F32:
    """The t-SNE map (van der Maaten & Hinton 2008), initialized by PCA, [N, 2]."""
    from sklearn.manifold import TSNE

    varies = x_NC[:, x_NC.std(0) > 0]
    if varies.shape[1] < 2:
        return np.zeros((len(x_NC), 2), np.float32)
    xy_N2 = TSNE(
        perplexity=perplexity(len(x_NC)), init="pca", random_state=mix("t-SNE", seed) % 2**32
    ).fit_transform(varies)
    return np.asarray(xy_N2, np.float32)


def nearest_elsewhere(x_NC: F32, utterance_N: I64) -> I64:
    """Index of the nearest point of another utterance by Euclidean distance, [N]; NO_LABEL if there is no other.

    Neighbors in the same utterance share the speaker and mostly the phone, whatever the encoder does.
    """
    nearest_N = np.full(len(x_NC), NO_LABEL)
    square_N = np.square(x_NC).sum(1)
    for start in range(0, len(x_NC), NEIGHBORS_AT_ONCE):
        part = slice(start, start + NEIGHBORS_AT_ONCE)
        distance = square_N[None] - 2 * x_NC[part] @ x_NC.T
        distance[utterance_N[part, None] == utterance_N[None]] = np.inf
        nearest_N[part] = np.where(np.isfinite(distance).any(1), distance.argmin(1), NO_LABEL)
    return nearest_N


def shared_labels(labels_N: I64, nearest_N: I64, utterance_N: I64) -> tuple[float, float, int] | None:
    """How often a point and its neighbor have the same label, among the pairs where both have one.

    Returns:
        The share of such pairs with equal labels; the share if the neighbor were any labeled point of another
        utterance; the number of pairs. None if there is no pair.
    """
    labeled_N = (labels_N != NO_LABEL) & (nearest_N != NO_LABEL)
    labeled_N[labeled_N] = labels_N[nearest_N[labeled_N]] != NO_LABEL
    if not labeled_N.any():
        return None
    own, other, owner = labels_N[labeled_N], labels_N[nearest_N[labeled_N]], utterance_N[labeled_N]
    has_label_N = labels_N != NO_LABEL
    count_UK = np.zeros((utterance_N.max() + 1, labels_N.max() + 1), np.int64)
    np.add.at(count_UK, (utterance_N[has_label_N], labels_N[has_label_N]), 1)
    alike = count_UK.sum(0)[own] - count_UK[owner, own]  # in other utterances, as neighbors are
    chance = alike / (count_UK.sum() - count_UK.sum(1)[owner])
    return float((own == other).mean()), float(chance.mean()), len(own)


def add_utterances(output: AnalysisOutput, frames: FrameSample, seed: int) -> None:
    """Add the map of utterances: a point is the mean of μ over all frames of an utterance, as published.

    Labels of frames, such as phones, color no utterance: a label counts if most utterances have one class of it.
    """
    num = len(frames.utterance_ids)
    if num < FEWEST_UTTERANCES:
        output.notes.append(f"No map of utterances: {num} are too few, it needs {FEWEST_UTTERANCES}.")
        return
    xy_U2 = t_sne(frames.utterance_mean_UC, seed)
    nearest_U = nearest_elsewhere(frames.utterance_mean_UC, np.arange(num))
    labelings = [
        labeling
        for labeling in frames.labelings
        if 2 * np.count_nonzero(frames.utterance_labels[labeling.name] != NO_LABEL) > num
    ]
    table: list[tuple[str, float, float, int]] = []
    for labeling in labelings:
        labels_U = frames.utterance_labels[labeling.name]
        output.pictures.append(
            PictureFile(
                f"tsne-utterances-{labeling.name}.png",
                f"t-SNE map of utterances (μ averaged over time), colored by {labeling.name}.",
                partial(scatter_picture, xy_U2, labels_U, labeling, "t-SNE of utterances", size=14),
            )
        )
        shared = shared_labels(labels_U, nearest_U, np.arange(num))
        if shared is not None:
            name = f"{labeling.name}_of_nearest_utterance"
            output.metrics[name], output.metrics[f"{labeling.name}_of_utterance_by_chance"] = shared[:2]
            output.headlines.append(name)
            table.append((labeling.name, *shared))
            output.summary.append(
                f"The nearest utterance, by its mean, has the same {labeling.name} in {shared[0]:.1%} of cases "
                f"({shared[1]:.1%} by chance)."
            )
    output.metrics["num_utterances"] = num
    if table:
        output.tables.append(
            Table(
                title="Labels of the nearest utterance, by its mean over time",
                columns=("label", "share with the same label", "by chance", "utterances"),
                rows=tuple(table),
            )
        )
    names = [
        [
            "-" if label == NO_LABEL else labeling.classes[label]
            for label in frames.utterance_labels[labeling.name]
        ]
        for labeling in labelings
    ]
    output.csv_files["utterances.csv"] = CsvFile(
        ("utterance", *(labeling.name for labeling in labelings), "tsne_1", "tsne_2"),
        [
            (utterance, *(of_labeling[u] for of_labeling in names), *xy_U2[u].tolist())
            for u, utterance in enumerate(frames.utterance_ids)
        ],
    )
    output.notes.append(
        f"t-SNE maps {num} utterances with perplexity {perplexity(num)}; published: random initial positions and the "
        "square root of the number of utterances as perplexity."
    )


def _picture(method: str, xy_N2: F32, labels_N: I64, labeling: Labeling) -> PictureFile:
    file = f"{method.lower().replace('-', '')}-{labeling.name}.png"
    caption = (
        f"{method} map of the latents, colored by {labeling.name}; names stand at the median of their class."
    )
    return PictureFile(file, caption, partial(scatter_picture, xy_N2, labels_N, labeling, method))


def _point_labels(frames: FrameSample, rows: I64) -> tuple[list[str], list[list[str]]]:
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
    header, metadata = _point_labels(frames, rows)
    positions_N4 = np.concatenate([pca_N2, tsne_N2], 1).tolist()
    return CsvFile(
        (*header, "pca_1", "pca_2", "tsne_1", "tsne_2"),
        [(*labels, *position) for labels, position in zip(metadata, positions_N4, strict=True)],
    )
