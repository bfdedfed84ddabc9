"""What the page shows of a run: utterances, their map, and the dimensions by information."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from vgim.decode.session import open_session
from vgim.errors import VgimError
from vgim.latents.frame_sample import sample_frames
from vgim.latents.result import LatentOptions
from vgim.model.posterior import gaussian_kl
from vgim.pretrained.opened_run import open_run
from vgim.serve.playground import Playground
from vgim.serve.survey import MOST_SECONDS, SPLITS, Dimension, survey


def test_utterances_are_the_first_of_the_validation_split_cut_to_some_seconds(playground: Playground) -> None:
    found = playground.survey
    assert SPLITS[0] == "validation"
    assert len(found.points) == 4
    assert all(0 < len(point.samples) <= MOST_SECONDS * 16_000 for point in found.points)
    assert len({point.name for point in found.points}) == 4


def test_dimensions_are_ordered_by_their_kl_over_all_frames(playground: Playground, served_run: Path) -> None:
    dimensions = playground.survey.dimensions
    values = [dimension.information for dimension in dimensions]
    assert all(value is not None for value in values)
    assert values == sorted(values, key=lambda value: -(value or 0))
    # The same numbers from another pass: means as downstream jobs read them, all frames of the same utterances.
    decoder = open_session(str(served_run)).decoder
    mu, std = [], []
    with torch.no_grad():
        for point in playground.survey.points:
            x = decoder.encoder.normalizer(torch.from_numpy(point.samples)[None])
            one_mu, one_std = decoder.encoder.encoder.module(1).distribution(
                decoder.encoder.encoder.module(0).represent(x)
            )
            assert one_std is not None
            mu.append(one_mu[0].double())
            std.append(one_std[0].double())
    kl = gaussian_kl(torch.cat(mu), 2 * torch.cat(std).log()).mean(0)
    for dimension in dimensions:
        assert dimension.information == pytest.approx(kl[dimension.index].item())
        assert dimension.mean == pytest.approx(torch.cat(mu)[:, dimension.index].mean().item())
        assert dimension.std == pytest.approx(torch.cat(mu)[:, dimension.index].std(correction=0).item())


def test_dimensions_without_a_posterior_are_ordered_by_their_deviation(two_decoders: Path) -> None:
    session = open_session(str(two_decoders), decoder="module0-layer1-mse")
    dimensions = survey(session, None, 3).dimensions
    assert {dimension.information for dimension in dimensions} == {None}
    deviations = [dimension.std or 0.0 for dimension in dimensions]
    assert deviations == sorted(deviations, reverse=True)
    frames = torch.cat([session.latents(point.samples)[0] for point in survey(session, None, 3).points])
    assert deviations[0] == pytest.approx(frames.double().std(0, correction=0).max().item())


def test_moments_agree_with_the_analyses_of_latents(playground: Playground, served_run: Path) -> None:
    checkpoint = served_run / "decoder/module1-mse/encoder"
    opened = open_run(str(checkpoint), shards=open_session(str(served_run)).decoder.config.data.shards)
    frames = sample_frames(opened, 1, LatentOptions(split="validation"))
    std = frames.mean_NC.std(0)
    for dimension in playground.survey.dimensions:
        assert dimension.std == pytest.approx(float(std[dimension.index]), rel=0.05)


def test_the_map_places_points_of_a_line_on_a_line(playground: Playground) -> None:
    plane = playground.survey.map
    assert plane is not None
    assert 1 >= sum(plane.explained) >= plane.explained[0] >= plane.explained[1] >= 0
    a, b = (torch.randn(1, 7, 8, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    middle = np.mean([plane.place(a), plane.place(b)], axis=0)
    np.testing.assert_allclose(plane.place(torch.lerp(a, b, 0.5)), middle, atol=1e-6)
    places = [point.xy for point in playground.survey.points]
    np.testing.assert_allclose(np.mean(places, axis=0), 0, atol=1e-6)


def test_without_its_shards_a_run_has_sliders_and_no_utterances(
    served_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = open_session(str(served_run))
    gone = session.decoder.config.model_copy(
        update={"data": session.decoder.config.data.model_copy(update={"shards": "/nowhere/shards"})}
    )
    session.decoder.config = gone
    found = survey(session, None, 60)
    assert found.points == ()
    assert found.map is None
    assert "/nowhere/shards" in found.problem
    assert "--shards" in found.problem
    assert found.dimensions == tuple(Dimension(index, None, None, None) for index in range(8))


def test_shards_that_were_named_and_are_not_there_are_an_error(served_run: Path, tmp_path: Path) -> None:
    with pytest.raises(VgimError, match="nothing"):
        survey(open_session(str(served_run)), str(tmp_path / "nothing"), 60)
