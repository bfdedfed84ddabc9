"""Jinja2 settings that every page has."""

from __future__ import annotations

import base64
import hashlib
import sys
from contextlib import suppress

from jinja2 import ChoiceLoader, Environment, FileSystemBytecodeCache, PackageLoader, StrictUndefined
from markupsafe import Markup


def page_environment(package: str) -> Environment:
    """An environment that finds a package's own templates, and those of this package for every page.

    Text is escaped, and an unknown variable is an error.
    """
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader("vgim.pages")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    # Compiling the templates takes as long as filling them in. Jinja keeps the result in a folder for temporary files
    # that only this user can write, and compiles again what changed.
    if not sys.dont_write_bytecode:
        with suppress(RuntimeError, OSError):  # there is no such folder, or it is another user's
            environment.bytecode_cache = FileSystemBytecodeCache()
    return environment


def script(environment: Environment, *names: str) -> dict[str, Markup | str]:
    """Scripts of templates as one, and the source that a content security policy allows, for a template to use."""
    assert environment.loader is not None
    text = "\n".join(environment.loader.get_source(environment, name)[0].strip() for name in names)
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return {"script": Markup(text), "script_hash": f"sha256-{digest}"}
