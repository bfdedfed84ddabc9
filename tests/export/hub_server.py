"""A stand-in for the hub on the loopback interface: what huggingface_hub asks of it to push and to pull.

Repositories are kept in memory. Files named *.safetensors go through LFS, as on the hub.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "hf_secretoftheowner"
"""The token that may write; any other, or none, may read public repositories."""


@dataclass
class Repository:
    """The files of each commit, the newest last."""

    private: bool
    commits: dict[str, dict[str, bytes]] = field(default_factory=lambda: {_commit_id({}): {}})

    @property
    def newest(self) -> str:
        return list(self.commits)[-1]


@dataclass
class Hub:
    """What the stand-in holds, and what it was asked."""

    address: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    """Contents that came through LFS, by SHA-256."""
    requests: list[str] = field(default_factory=list)
    """Method and path of each request."""
    fail_commits: bool = False


@contextmanager
def hub_server() -> Iterator[Hub]:
    """Serve until the context ends."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _commit_id(files: dict[str, bytes]) -> str:
    content = json.dumps({name: hashlib.sha256(data).hexdigest() for name, data in sorted(files.items())})
    return hashlib.sha1(content.encode()).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        path = self._path()
        match path.strip("/").split("/"):
            case ["api", "models", owner, name]:
                self._info(f"{owner}/{name}", "main")
            case ["api", "models", owner, name, "revision", revision]:
                self._info(f"{owner}/{name}", revision)
            case ["api", "models", owner, name, "tree", revision]:
                self._tree(f"{owner}/{name}", revision)
            case [owner, name, "resolve", revision, file]:
                self._file(f"{owner}/{name}", revision, file)
            case _:
                self._fail(404, "no such page")

    do_HEAD = do_GET

    def do_POST(self) -> None:
        path, body = self._path(), self._body()
        match path.strip("/").split("/"):
            case ["api", "validate-yaml"]:
                self._json({"errors": [], "warnings": []})
            case _ if not self._may_write():
                self._fail(401, "Invalid username or password.")
            case ["api", "repos", "create"]:
                self._create(json.loads(body))
            case ["api", "models", _, _, "preupload", _]:
                files = [
                    {
                        "path": file["path"],
                        "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular",
                        "shouldIgnore": False,
                    }
                    for file in json.loads(body)["files"]
                ]
                self._json({"files": files})
            case [_, _, "info", "lfs", "objects", "batch"]:
                objects = [
                    {**asked, "actions": {"upload": {"href": f"{self.hub.address}/lfs/{asked['oid']}"}}}
                    for asked in json.loads(body)["objects"]
                ]
                self._json({"transfer": "basic", "objects": objects})
            case ["api", "models", owner, name, "commit", _]:
                self._commit(f"{owner}/{name}", body)
            case _:
                self._fail(404, "no such page")

    def do_PUT(self) -> None:
        oid, body = self._path().rpartition("/")[2], self._body()
        if hashlib.sha256(body).hexdigest() != oid:
            self._fail(400, "another content than announced")
            return
        self.hub.objects[oid] = body
        self._json({})

    def _create(self, asked: dict[str, Any]) -> None:
        repo = f"{asked['organization']}/{asked['name']}"
        taken = repo in self.hub.repositories
        private = asked.get("visibility") == "private" or bool(asked.get("private"))
        self.hub.repositories.setdefault(repo, Repository(private))
        self._json({"url": f"{self.hub.address}/{repo}"}, 409 if taken else 200)

    def _commit(self, repo: str, body: bytes) -> None:
        if self.hub.fail_commits:
            self._fail(500, f"the server's disk is full; you sent {self.headers['Authorization']}")
            return
        repository = self.hub.repositories[repo]
        files = dict(repository.commits[repository.newest])
        for line in body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                files[value["path"]] = self.hub.objects[value["oid"]]
        commit = _commit_id(files)
        repository.commits[commit] = files
        self._json({"commitUrl": f"{self.hub.address}/{repo}/commit/{commit}", "commitOid": commit})

    def _info(self, repo: str, revision: str) -> None:
        files = self._files(repo, revision)
        if files is not None:
            siblings = [{"rfilename": name} for name in files]
            self._json({"id": repo, "sha": _commit_id(files), "siblings": siblings, "tags": []})

    def _tree(self, repo: str, revision: str) -> None:
        files = self._files(repo, revision)
        if files is not None:
            self._json(
                [
                    {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
                    for name, data in files.items()
                ]
            )

    def _file(self, repo: str, revision: str, file: str) -> None:
        files = self._files(repo, revision)
        if files is None:
            return
        if file not in files:
            self._fail(404, "no such file", "EntryNotFound")
            return
        headers = {"ETag": f'"{hashlib.sha1(files[file]).hexdigest()}"', "X-Repo-Commit": _commit_id(files)}
        self._send(200, files[file], "application/octet-stream", headers)

    def _files(self, repo: str, revision: str) -> dict[str, bytes] | None:
        """The files of a commit; None after an answer that there is none."""
        repository = self.hub.repositories.get(repo)
        if repository is None or (repository.private and not self._may_write()):
            self._fail(404 if self._may_write() else 401, "Repository not found", "RepoNotFound")
            return None
        commit = repository.newest if revision == "main" else revision
        if commit not in repository.commits:
            self._fail(404, "Invalid rev id", "RevisionNotFound")
            return None
        return repository.commits[commit]

    def _path(self) -> str:
        path = self.path.partition("?")[0]
        self.hub.requests.append(f"{self.command} {path}")
        return path

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _may_write(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def _json(self, content: object, status: int = 200) -> None:
        self._send(status, json.dumps(content).encode(), "application/json", {})

    def _fail(self, status: int, message: str, code: str = "") -> None:
        headers = {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {})
        self._send(status, json.dumps({"error": message}).encode(), "application/json", headers)

    def _send(self, status: int, body: bytes, kind: str, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
