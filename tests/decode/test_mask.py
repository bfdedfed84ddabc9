"""`--mask`: its spelling, what it keeps, and one line for what is wrong."""

from __future__ import annotations

import pytest
import torch

from vgim.decode.mask import Mask
from vgim.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("keep:0-2,5", [0, 1, 2, 5]),
        ("zero:0-2,5", [3, 4, 6, 7]),
        ("keep:7", [7]),
        ("zero:0-7", []),
        ("keep:0-7", list(range(8))),
        ("zero:1, 1-2,2", [0, 3, 4, 5, 6, 7]),
    ],
)
def test_dimensions_are_kept_or_zero(text: str, kept: list[int]) -> None:
    mask = Mask.parse(text)
    assert mask.kept(8) == kept
    latents = torch.randn(2, 3, 8) + 10
    masked = mask.apply(latents)
    assert torch.equal(masked[..., kept], latents[..., kept])
    assert set(masked.count_nonzero((0, 1)).nonzero().flatten().tolist()) == set(kept)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("3,17", "--mask 3,17 is no mask; write keep:0-31,40 or zero:3,17"),
        ("keep:", "--mask keep: is no mask"),
        ("keep:1,", "'' is no dimension and no range"),
        ("zero:a-b", "'a-b' is no dimension and no range"),
        ("zero:-1", "'-1' is no dimension"),
        ("keep:5-3", "the range 5-3 runs backwards; write 3-5"),
        ("keep:٣", "'٣' is no dimension and no range"),
        ("keep:1234567", "'1234567' is no dimension"),
    ],
)
def test_another_spelling_is_refused_in_one_line(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        Mask.parse(text)
    assert "\n" not in str(caught.value)


def test_dimensions_that_are_not_there_are_refused() -> None:
    with pytest.raises(ConfigError, match="dimension 8, but the latents have 8 dimensions; use 0 to 7"):
        Mask.parse("keep:0-9").kept(8)


def test_masks_have_short_names_of_their_own() -> None:
    assert Mask.parse("keep:0-31,40").name == "keep0-31_40"
    long = [Mask.parse("zero:" + ",".join(map(str, range(first, 60)))).name for first in (0, 1)]
    assert all(name.startswith("zero-") and len(name) == 17 for name in long)
    assert len(set(long)) == 2
