"""Ranks that exchange tensors within a micro-batch."""

from __future__ import annotations

from typing import Any

import pytest

from tests.model.cases import small_encoder
from vgim.errors import ConfigError
from vgim.training.greedy import check_exchange


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        ({"model": {"batch_norm": "sync"}}, "model.batch_norm=sync"),
        ({"model": {"posterior_norm": "sync"}}, "model.posterior_norm=sync"),
        ({"negatives": "global"}, "objective.negatives=global"),
    ],
)
def test_ranks_that_exchange_tensors_have_one_virtual_rank_each(
    overrides: dict[str, Any], named: str
) -> None:
    encoder = small_encoder(**overrides)
    check_exchange(encoder, num_virtual=2, num_ranks=2)
    with pytest.raises(ConfigError, match=named):
        check_exchange(encoder, num_virtual=2, num_ranks=1)
