"""Summaries for TensorBoard's HParams tab: the hyperparameters of a run, and how the run ended."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams.api_pb2 import (
    DataType,
    Experiment,
    HParamInfo,
    MetricInfo,
    MetricName,
    Status,
)
from tensorboard.plugins.hparams.metadata import (
    EXPERIMENT_TAG,
    SESSION_END_INFO_TAG,
    SESSION_START_INFO_TAG,
    create_summary_metadata,
)
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo, SessionStartInfo

from vgim.config import AnyConfig
from vgim.config.keys import dump, flatten


def hyperparameters(config: AnyConfig) -> dict[str, Any]:
    """The keys of a config that say what was trained, without `cluster` and `storage`."""
    keys = flatten(dump(config))
    return {key: value for key, value in keys.items() if key.partition(".")[0] not in ("cluster", "storage")}


def session_start(values: Mapping[str, object], metrics: Iterable[str]) -> list[Any]:
    """Summaries of the hyperparameters, and of the tags whose latest values are shown beside them."""
    start = SessionStartInfo()
    infos = []
    for key, value in values.items():
        if isinstance(value, bool | int | float):
            start.hparams[key].number_value = value
            kind = "DATA_TYPE_FLOAT64"
        else:
            start.hparams[key].string_value = str(value)
            kind = "DATA_TYPE_STRING"
        infos.append(HParamInfo(name=key, type=DataType.Value(kind)))
    tags = [MetricInfo(name=MetricName(tag=tag)) for tag in metrics]
    experiment = Experiment(hparam_infos=infos, metric_infos=tags)
    return [
        _summary(EXPERIMENT_TAG, HParamsPluginData(experiment=experiment)),
        _summary(SESSION_START_INFO_TAG, HParamsPluginData(session_start_info=start)),
    ]


def session_end(*, failed: bool) -> Any:
    """Summary that the session has ended, and how."""
    status = Status.Value("STATUS_FAILURE" if failed else "STATUS_SUCCESS")
    end = SessionEndInfo(status=status, end_time_secs=time.time())
    return _summary(SESSION_END_INFO_TAG, HParamsPluginData(session_end_info=end))


def _summary(tag: str, content: HParamsPluginData) -> Any:
    return Summary(value=[Summary.Value(tag=tag, metadata=create_summary_metadata(content))])
