"""Jinja2 settings that every page has."""

from __future__ import annotations

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined


def page_environment(package: str) -> Environment:
    """An environment that finds a package's own templates, and those of this package for every page.

    Text is escaped, and an unknown variable is an error.
    """
    return Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader("vgim.pages")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
