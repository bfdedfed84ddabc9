"""Which tests one process of `pytest -n` runs together: those that use Ray, and those that share a costly fixture."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
RAY = "ray"
RAY_FIXTURES = {"ray_session", "ray_cluster"}


class Function(NamedTuple):
    """A test or fixture."""

    arguments: frozenset[str]
    shared_by: str = ""
    """File or folder whose tests share what a fixture makes; empty for a test, and where every test has its own."""


def scope_of(nodeid: str) -> str:
    """The name that tests share which the same process runs.

    A fixture of a module or of a folder's tests is made in every process that runs one of them, so that they stay
    together. The others are spread one by one.
    """
    file, _, test = nodeid.partition("::")
    functions = functions_of(file)
    used, found = {test.partition("[")[0]}, set[str]()
    while used:
        found |= used
        used = {name for one in used if one in functions for name in functions[one].arguments} - found
    if found & RAY_FIXTURES:
        return RAY
    shared = {functions[name].shared_by for name in found if name in functions} - {""}
    return min(shared, key=len, default=nodeid)


@cache
def functions_of(file: str) -> dict[str, Function]:
    """The functions at the top of a test file, and those of the conftest.py beside and above it, by name."""
    path = ROOT / file
    found: dict[str, Function] = {}
    folders = [folder for folder in reversed(path.parents) if folder.is_relative_to(ROOT / "tests")]
    for source in [folder / "conftest.py" for folder in folders] + [path]:
        if not source.exists():
            continue
        below = source.parent.relative_to(ROOT).as_posix()
        shared_by = {"module": file, "session": "" if below == "tests" else below}
        for node in ast.parse(source.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef):
                arguments = frozenset(argument.arg for argument in node.args.args)
                found[node.name] = Function(arguments, shared_by.get(_scope(node), ""))
    return found


def _scope(function: ast.FunctionDef) -> str:
    """The scope of a fixture, where it is not a single test."""
    for decorator in function.decorator_list:
        for keyword in decorator.keywords if isinstance(decorator, ast.Call) else ():
            if keyword.arg == "scope" and isinstance(keyword.value, ast.Constant):
                return str(keyword.value.value)
    return ""
