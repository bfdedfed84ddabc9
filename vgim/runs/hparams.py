"""Summaries for TensorBoard's HParams tab: the hyperparameters of a run, and how the run ended."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams.api_pb2 import Status
from tensorboard.plugins.hparams.metadata import SESSION_END_INFO_TAG, create_summary_metadata
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo
from torch.utils.tensorboard.summary import hparams

from vgim.config import AnyConfig
from vgim.config.keys import dump, flatten


def hyperparameters(config: AnyConfig) -> dict[str, Any]:
    """The keys of a config that say what was trained, without `cluster` and `storage`."""
    keys = flatten(dump(config))
    return {key: value for key, value in keys.items() if key.partition(".")[0] not in ("cluster", "storage")}


def session_start(values: Mapping[str, object], metrics: Iterable[str]) -> list[Any]:
    """Summaries of the hyperparameters, and of the tags whose latest values are shown beside them."""
    known = {k: v if isinstance(v, bool | int | float | str) else str(v) for k, v in values.items()}
    # torch returns a third summary, which says that the session has ended well.
    experiment, start, _ = hparams(known, dict.fromkeys(metrics, 0.0))  # type: ignore[no-untyped-call]
    return [experiment, start]


def session_end(*, failed: bool) -> Any:
    """Summary that the session has ended, and how."""
    status = Status.Value("STATUS_FAILURE" if failed else "STATUS_SUCCESS")
    end = SessionEndInfo(status=status, end_time_secs=time.time())
    metadata = create_summary_metadata(HParamsPluginData(session_end_info=end))
    return Summary(value=[Summary.Value(tag=SESSION_END_INFO_TAG, metadata=metadata)])
