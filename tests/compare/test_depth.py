"""Which outputs stand in one row: greedy modules, and layers of cpc with the same number of samples a frame."""

from __future__ import annotations

from vgim.compare.depth import common_stages, outputs_by_stage, stages_of
from vgim.config.schema import DataConfig, ModelConfig, ObjectiveConfig, RunConfig

DATA = DataConfig(shards="x")
GREEDY, CPC = ModelConfig(family="gim"), ModelConfig(family="cpc")
EXTRA = ModelConfig(
    family="cpc",
    kernels=(10, 8, 1, 4, 4, 1, 4, 1),
    strides=(5, 4, 1, 2, 2, 1, 2, 1),
    paddings=(2, 2, 0, 2, 2, 0, 1, 0),
    layers_per_module=(8,),
)


def test_modules_of_greedy_encoders_are_rows() -> None:
    stages = stages_of(GREEDY)
    assert [(stage.hop, stage.gru) for stage in stages] == [
        (20, False),
        (80, False),
        (160, False),
        (160, True),
    ]
    assert outputs_by_stage(GREEDY, stages) == {(m, None): m for m in range(4)}


def test_layers_of_cpc_stand_beside_the_modules_that_end_there() -> None:
    stages = stages_of(GREEDY)
    assert outputs_by_stage(CPC, stages) == {(0, 1): 0, (0, 3): 1, (0, 4): 2, (0, None): 3}
    assert outputs_by_stage(EXTRA, stages) == {(0, 2): 0, (0, 5): 1, (0, 7): 2, (0, None): 3}
    without_gru = CPC.model_copy(update={"gru_units": 0})
    assert outputs_by_stage(without_gru, stages) == {(0, 1): 0, (0, 3): 1, (0, None): 2}


def test_the_deepest_greedy_encoder_gives_the_rows() -> None:
    shallow = GREEDY.model_copy(update={"depth": 2})
    configs = [
        RunConfig(data=DATA, model=model, objective=ObjectiveConfig()) for model in (CPC, shallow, GREEDY)
    ]
    assert common_stages(configs) == stages_of(GREEDY)
    assert common_stages(configs[:1]) == stages_of(GREEDY)  # cpc's own layers_per_module
    assert common_stages(configs[:2]) == stages_of(GREEDY)[:2]


def test_extra_modules_of_cpc_stand_beside_those_of_a_greedy_encoder() -> None:
    deep = {"extra_modules": 2, "extra_layers": 2}
    stages = stages_of(GREEDY.model_copy(update=deep))
    assert [stage.hop for stage in stages] == [20, 80, 160, 160, 160, 160]
    rows = {(0, 1): 0, (0, 3): 1, (0, 4): 2, (0, 6): 3, (0, 8): 4, (0, None): 5}
    assert outputs_by_stage(CPC.model_copy(update=deep), stages) == rows
    plain = {(0, 1): 0, (0, 3): 1, (0, 4): 2, (0, None): 5}
    assert outputs_by_stage(CPC, stages) == plain
    assert outputs_by_stage(CPC.model_copy(update=deep), stages_of(GREEDY)) == {
        (0, 1): 0,
        (0, 3): 1,
        (0, 4): 2,
        (0, None): 3,
    }
