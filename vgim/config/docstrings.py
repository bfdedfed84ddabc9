"""The docstrings of a section's fields, which are the help texts of its keys.

pydantic could read them as it defines a section. Then each command would parse the source of every section.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import pairwise


@cache
def field_docstrings(section: type) -> Mapping[str, str]:
    """The docstring of each field that a class declares, by the field's name."""
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(section))).body
    assert isinstance(body, ast.ClassDef)
    return dict(_documented(body))


def _documented(section: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for field, below in pairwise(section.body):
        match field, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                yield name, text
