"""Pushes an exported folder to a hub: one commit, so that a repository has all of its files or none."""

from __future__ import annotations

from collections.abc import Mapping

from vgim.errors import StorageError
from vgim.pretrained.hub import HUB, check_repo, hub_errors, hub_library

OF_THE_HUB = {".gitattributes"}
"""Files that the hub itself puts into a new repository."""


def push(repo: str, contents: Mapping[str, bytes], *, private: bool, overwrite: bool) -> str:
    """Commit files to a repository of models, which is made if it is not there.

    Args:
        repo: OWNER/NAME.
        contents: Content of each file by name.
        private: Whether a new repository is private.
        overwrite: Replace files of a repository that has some already.

    Returns:
        hf://OWNER/NAME@COMMIT.

    Raises:
        ConfigError: The name is none, or huggingface_hub is not installed.
        StorageError: The hub does not answer or refuses, or the repository has files already.
    """
    check_repo(repo, f"--repo {repo}")
    hub = hub_library("--to hub")
    uri = f"{HUB}{repo}"
    api = hub.HfApi()
    with hub_errors("upload to", uri):
        api.create_repo(repo, repo_type="model", private=private or None, exist_ok=True)
        taken = set(api.list_repo_files(repo)) - OF_THE_HUB
    if taken and not overwrite:
        raise StorageError(
            f"{uri} has {len(taken)} files already, such as {min(taken)}; give --repo another name, or --overwrite to "
            "commit over them"
        )
    operations = [hub.CommitOperationAdd(name, data) for name, data in contents.items()]
    with hub_errors("upload to", uri):
        commit = api.create_commit(repo, operations, commit_message="Export an encoder by vgim")
    return f"{uri}@{commit.oid}"
