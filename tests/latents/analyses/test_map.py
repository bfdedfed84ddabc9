"""Maps in two dimensions, and labels of neighbors, where they are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.latents.cases import frames_of, input_of, normal
from vgim.latents.analyses.map import MapAnalysis, nearest_elsewhere, perplexity, principal, shared_labels
from vgim.latents.frame_labels import NO_LABEL


def test_neighbors_are_sought_in_other_utterances() -> None:
    x_NC = np.array([[0], [0.1], [5], [5.1]], np.float32)
    assert nearest_elsewhere(x_NC, np.array([0, 0, 1, 1])).tolist() == [2, 2, 1, 1]
    assert nearest_elsewhere(x_NC, np.zeros(4, np.int64)).tolist() == [NO_LABEL] * 4


def test_neighbors_share_labels_beyond_chance() -> None:
    labels_N, nearest_N = np.array([0, 0, 1, 1, NO_LABEL]), np.array([1, 0, 3, 4, 0])
    same, chance, num = shared_labels(labels_N, nearest_N, np.arange(5)) or (0, 0, 0)
    assert (same, num) == (1, 3)  # the last two pairs have a frame without a label
    assert chance == pytest.approx(1 / 3)  # of three others with a label, one has the same
    assert shared_labels(np.full(5, NO_LABEL), nearest_N, np.arange(5)) is None


def test_chance_is_of_any_frame_of_another_utterance_as_neighbors_are() -> None:
    rng = np.random.default_rng(0)
    utterance_N = np.sort(rng.integers(0, 9, 200))
    speaker_N = utterance_N // 3  # each speaker has three utterances
    _, chance, num = shared_labels(speaker_N, (np.arange(200) + 100) % 200, utterance_N) or (0, 0, 0)
    others = [speaker_N[utterance_N != utterance] for utterance in utterance_N]
    expected = np.mean([(other == own).mean() for other, own in zip(others, speaker_N, strict=True)])
    assert (chance, num) == (pytest.approx(expected), 200)
    assert chance < 0.28  # about 2 of 8 utterances, where a third of all frames are of each speaker


def test_a_line_has_one_principal_component() -> None:
    variance_C, components_2C, mean_C = principal(normal(50, 1) * np.array([[3, 4]], np.float32) + 1)
    assert variance_C[1] == pytest.approx(0, abs=1e-5)
    assert np.abs(components_2C[0]) == pytest.approx([0.6, 0.8], abs=1e-5)
    assert len(mean_C) == 2


@given(st.integers(4, 5_000))
def test_t_sne_has_more_points_than_its_perplexity(num: int) -> None:
    assert 1 <= perplexity(num) < num


def test_neighbors_share_the_phone_that_parts_the_clusters_and_never_the_speaker() -> None:
    """Two phones lie far apart on one line; each of two speakers says both."""
    phone_N, speaker_N = np.arange(40) % 2, np.arange(40) // 20
    mean_NC = (100 * phone_N[:, None] + normal(40, 1)) * np.array([[0.6, 0.8]], np.float32)
    labels = {"speaker": speaker_N, "phone": phone_N}
    output = MapAnalysis().run(input_of(frames_of(mean_NC.astype(np.float32), None, None, speaker_N, labels)))
    metrics = output.metrics
    assert (metrics["phone_of_neighbour"], metrics["phone_by_chance"]) == (1, 0.5)
    assert (metrics["speaker_of_neighbour"], metrics["speaker_by_chance"]) == (0, 0)
    assert metrics["components_for_90_percent"] == 1
    assert metrics["effective_components"] == pytest.approx(1, abs=1e-5)
    assert metrics["num_frames"] == 40
    sheet = output.csv_files["points.csv"]
    assert sheet.columns[:4] == ("utterance", "frame", "speaker", "phone")
    pca_1 = np.array([row[4] for row in sheet.rows], dtype=np.float64)
    middle = (mean_NC @ np.array([0.6, 0.8])).mean()
    assert np.abs(pca_1) == pytest.approx(np.abs(mean_NC @ np.array([0.6, 0.8]) - middle), abs=1e-3)


def test_utterances_are_mapped_by_their_means_and_colored_by_labels_of_utterances() -> None:
    """Two vowels lie far apart; frames of an utterance differ in phone, so that phones color no utterance."""
    utterance_N = np.repeat(np.arange(12), 4)
    vowel_N = utterance_N % 2
    mean_NC = (50 * vowel_N[:, None] + normal(48, 3)).astype(np.float32)
    labels = {"vowel": vowel_N, "phone": np.arange(48) % 4}
    output = MapAnalysis().run(input_of(frames_of(mean_NC, utterance_N=utterance_N, labels=labels)))
    assert output.metrics["vowel_of_nearest_utterance"] == 1
    assert output.metrics["vowel_of_utterance_by_chance"] == pytest.approx(5 / 11)
    assert output.metrics["num_utterances"] == 12
    assert not any("phone" in name and "utterance" in name for name in output.metrics)
    files = [picture.file for picture in output.pictures]
    assert [file for file in files if "utterances" in file] == ["tsne-utterances-vowel.png"]
    sheet = output.csv_files["utterances.csv"]
    assert sheet.columns == ("utterance", "vowel", "tsne_1", "tsne_2")
    assert [row[:2] for row in sheet.rows[:2]] == [("utterance0", "c0"), ("utterance1", "c1")]


def test_two_utterances_are_no_map() -> None:
    frames = frames_of(normal(40, 3), utterance_N=np.arange(40) // 20)
    output = MapAnalysis().run(input_of(frames))
    assert "utterances.csv" not in output.csv_files
    assert "No map of utterances: 2 are too few, it needs 5." in output.notes
