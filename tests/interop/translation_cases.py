"""What `vgim from-reference` prints, read by tests."""

from __future__ import annotations

import shlex

from tests.test_docs import parse
from vgim.config import DecoderConfig, load_config
from vgim.config.keys import config_keys
from vgim.interop.reference_translation import translate


def commands_of(text: str) -> list[str]:
    return [line for line in translate(text).splitlines() if not line.startswith("# ")]


def check(command: str) -> None:
    """Parse a vgim command as the command line would, and load the config that it names."""
    words = shlex.split(command)
    assert words[0] == "vgim"
    context = parse(words[1:])
    if context.params.get("preset"):
        load_config(context.params["preset"], context.params["overrides"])
    elif context.params.get("overrides"):
        known = config_keys(DecoderConfig).leaves
        assert {override.partition("=")[0] for override in context.params["overrides"]} <= known.keys()
