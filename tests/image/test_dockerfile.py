"""The Dockerfile is one that its checks can take, pins what it builds on, and copies what is in the build's context."""

from __future__ import annotations

import re
import runpy
import shlex

import pytest

from tests.image.dockerfile import DOCKERFILE, ROOT, arguments_of, health_command, read_steps
from tests.image.root import in_context

STEPS = read_steps(DOCKERFILE.read_text())


def test_the_base_is_pinned_to_a_patch_of_python_that_the_locks_are_for() -> None:
    (base,) = arguments_of(STEPS, "FROM")
    found = re.fullmatch(r"python:(\d+\.\d+)\.\d+-slim-[a-z]+", base)
    assert found
    assert found[1] in runpy.run_path(str(ROOT / "deploy/lock.py"))["PYTHONS"]


@pytest.mark.parametrize("lock", ["cuda", "cpu"])
def test_dependencies_come_from_a_lock_and_nothing_else_from_an_index(lock: str) -> None:
    steps = read_steps(DOCKERFILE.read_text(), {"LOCK": lock})
    assert f"deploy/requirements-{lock}.txt requirements.txt" in arguments_of(steps, "COPY")
    of_lock, of_vgim = [run for run in arguments_of(steps, "RUN") if run.startswith("pip install")]
    assert of_lock == "pip install --no-cache-dir -r requirements.txt"
    assert {"--no-deps", "--no-build-isolation", "--no-cache-dir"} <= set(of_vgim.split())


def test_what_is_copied_is_there_and_in_the_context() -> None:
    sources = [source for copy in arguments_of(STEPS, "COPY") for source in copy.split()[:-1]]
    assert {"vgim", "ray_jobs", "configs", "pyproject.toml"} <= set(sources)
    assert all((ROOT / source).exists() and in_context(source) for source in sources)


def test_what_is_private_large_or_made_here_is_not_in_the_context() -> None:
    for path in (".git", ".venv", "corpora", "shards", "runs", "tests", "docs", "deploy/Dockerfile", ".env"):
        assert not in_context(path), path


def test_the_image_runs_as_a_user_with_the_token_and_the_compilers() -> None:
    assert [step.instruction for step in STEPS][-2:] == ["USER", "ENV"]
    assert arguments_of(STEPS, "USER") == ["ray"]
    assert "RAY_AUTH_MODE=token" in shlex.split(arguments_of(STEPS, "ENV")[-1])
    (packages,) = [run for run in arguments_of(STEPS, "RUN") if "apt-get" in run]
    assert {"g++", "wget"} <= set(packages.split())


def test_the_health_check_asks_the_port_that_rays_agent_listens_on() -> None:
    from ray._private.ray_constants import DEFAULT_DASHBOARD_AGENT_LISTEN_PORT

    assert f"http://127.0.0.1:{DEFAULT_DASHBOARD_AGENT_LISTEN_PORT}/api/healthz" in health_command(STEPS)


def test_the_image_has_the_projects_version() -> None:
    version = re.search(r'^version = "([^"]+)"', (ROOT / "pyproject.toml").read_text(), flags=re.MULTILINE)
    assert version
    assert f'org.opencontainers.image.version="{version[1]}"' in arguments_of(STEPS, "LABEL")[0]


def test_steps_are_joined_filled_in_and_refused_where_no_rule_is_known() -> None:
    text = "# comment\nARG A=1\nFROM x:${A} AS b\nRUN one && \\\n  # inside\n  two ${A}\nCOPY p-${A} q\n"
    found = [(step.instruction, step.arguments) for step in read_steps(text, {"A": "2"})]
    assert found == [
        ("ARG", "A=1"),
        ("FROM", "x:2 AS b"),
        ("RUN", "one && two ${A}"),
        ("COPY", "p-2 q"),
    ]
    with pytest.raises(ValueError, match="build argument B has no value"):
        read_steps("FROM ${B}")
    with pytest.raises(ValueError, match="instruction ONBUILD"):
        read_steps("ONBUILD RUN x")
