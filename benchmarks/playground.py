"""Time what a moved slider of `vgim serve` waits for, in milliseconds for a second of audio.

Asked over HTTP on the loopback interface, as a page asks: decode, of latents that are changed each time; encode, the
first request of a sound, which also encodes it. Weights are random: they change no time. Medians and slowest of the
rounds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
from common import parser, print_table, start, write_json

from vgim.config import DecoderConfig, RunConfig
from vgim.config.schema import DataConfig, ModelConfig, ObjectiveConfig
from vgim.data.pcm import SAMPLE_RATE_HZ
from vgim.decode.session import DecoderSession
from vgim.model.audio import Normalizer
from vgim.model.stack import build_encoder
from vgim.pretrained.decoder import FrozenDecoder, build_decoder
from vgim.pretrained.encoder import FrozenEncoder
from vgim.serve.app import build_app
from vgim.serve.playground import Playground
from vgim.serve.server import HOST, listen, make_server
from vgim.serve.survey import Point, Survey
from vgim.storage import Location

TOKEN, PAGE = "benchmark", "0" * 32
GOAL_MS = 200
NO_CHECKPOINT = cast(Any, None)


def make_playground(
    channels: int, module: int, extra_layers: int, num_sounds: int, seconds: float
) -> Playground:
    """A playground of random weights and noise."""
    model = ModelConfig(family="sim", channels=channels)
    config = RunConfig(
        data=DataConfig(shards="none"), model=model, objective=ObjectiveConfig(kld_weight=0.001)
    )
    encoder = build_encoder(model, config.objective, 0)
    source = {"run": "none", "step": 0, "weights": "0" * 64, "family": "sim", "module": module}
    decoder_config = DecoderConfig.model_validate(
        {
            "encoder": source,
            "data": {"shards": "none"},
            "decoder": {"channels": channels, "extra_layers": extra_layers},
        }
    )
    frozen = FrozenDecoder(
        build_decoder(decoder_config, encoder),
        FrozenEncoder(encoder, Normalizer(), config, NO_CHECKPOINT),
        Normalizer(),
        decoder_config,
        NO_CHECKPOINT,
    )
    rng = np.random.default_rng(0)
    points = tuple(
        Point(
            f"{number}", "", "", rng.integers(-3000, 3000, round(seconds * SAMPLE_RATE_HZ), np.int16), (0, 0)
        )
        for number in range(num_sounds)
    )
    return Playground(DecoderSession(frozen, Location("none"), False), Survey(points, None, (), ""))


@contextmanager
def served(playground: Playground) -> Iterator[str]:
    """Serve a playground, and yield the address of its page."""
    with listen(0) as listening:
        server = make_server(build_app(playground, TOKEN))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield f"http://{HOST}:{listening.getsockname()[1]}/{TOKEN}/"
        finally:
            server.should_exit = True
            thread.join()


def ask(url: str, sound: int, value: float) -> float:
    """Milliseconds from a request to the last byte of its sound."""
    body = json.dumps({"a": f"u{sound}", "values": {"0": value}}).encode()
    began = time.perf_counter()
    with urllib.request.urlopen(urllib.request.Request(f"{url}api/decode?page={PAGE}", body)) as answer:
        answer.read()
    return 1000 * (time.perf_counter() - began)


def main(argv: list[str] | None = None) -> int:
    """Print the times and return the exit code."""
    made = parser(__doc__)
    made.add_argument("--channels", type=int, nargs="+", default=[64, 512])
    made.add_argument("--modules", type=int, nargs="+", default=[0, 1, 2, 3])
    made.add_argument(
        "--extra-layers", type=int, default=0, help="decoder.extra_layers; 2 as published in module 0"
    )
    made.add_argument("--seconds", type=float, default=1.0, help="length of the sound")
    made.add_argument("--rounds", type=int, default=9)
    args: argparse.Namespace = made.parse_args(argv)
    start(args)
    rows: list[dict[str, Any]] = []
    for channels in args.channels:
        for module in args.modules:
            playground = make_playground(channels, module, args.extra_layers, args.rounds + 1, args.seconds)
            with served(playground) as url:
                encode = [ask(url, sound, 0.0) for sound in range(args.rounds + 1)][1:]
                decode = [ask(url, args.rounds, 0.1 * (i + 1)) for i in range(args.rounds)]
            rows.append(
                {
                    "channels": channels,
                    "module": module,
                    "decode_ms": statistics.median(decode),
                    "slowest_ms": max(decode),
                    "encode_ms": statistics.median(encode),
                }
            )
    columns = ["channels", "module", "decode, ms", "slowest", "first, with encode"]
    print_table(columns, [list(row.values()) for row in rows])
    print(f"a moved slider should be heard within {GOAL_MS} ms")
    write_json(args.json, {"playground": rows})
    return 0


if __name__ == "__main__":
    sys.exit(main())
