"""A Hub on this machine, for tests: the endpoints that a download, a search and a check use.

    with FakeHub() as hub:
        repository = hub.add("owner/name", folder)
        subprocess.Popen(app, env={**os.environ, **hub.environment(tmp_path / "home")})

It runs in the test's process; the app under test is told of it by its environment, and a test's own
process by `used_by`. A repository is any folder. What it does wrong is said by its attributes,
which a test may change at any time; no behaviour depends on time.
"""

import hashlib
import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from huggingface_hub import close_session, constants

# What the tokens of the only account may do; others are unknown to the Hub.
TOKEN = "hf_reads"
TOKEN_WITHOUT_LICENCE = "hf_without_licence"
TOKEN_WAITING = "hf_waiting"
TOKEN_WITHOUT_SCOPE = "hf_without_scope"

_GATED = {
    TOKEN_WITHOUT_LICENCE: (403, "GatedRepo", "You are not in the authorized list."),
    TOKEN_WAITING: (403, "GatedRepo", "Your request is awaiting a review from the authors."),
    TOKEN_WITHOUT_SCOPE: (
        403,
        "",
        "Please enable access to public gated repositories in your fine-grained token settings.",
    ),
}
_PIECE_BYTES = 64 * 1024

Fault = Literal["", "rate limited", "broken", "silent"]
FileFault = Literal["", "held", "cut", "truncated", "damaged"]


@dataclass
class Repository:
    """A model of the fake Hub.

    Attributes:
        id: "owner/name".
        files: their contents, by name.
        is_gated: only `TOKEN` may read its files; what is said of it is for all.
        is_private: only `TOKEN` sees it.
        fault: what is wrong with every answer: 429, 500, or none at all until `gate` opens.
        file_fault: what is wrong with weights: held from their middle until `gate` opens, cut there
            (the connection ends), truncated there (there is no more), or with another last byte.
        gate: opened by the test.
        held: set once something waits for the gate.
    """

    id: str
    files: dict[str, bytes]
    is_gated: bool = False
    is_private: bool = False
    fault: Fault = ""
    file_fault: FileFault = ""
    downloads: int = 0
    likes: int = 0
    gate: threading.Event = field(default_factory=threading.Event)
    held: threading.Event = field(default_factory=threading.Event)

    @property
    def commit(self) -> str:
        """The only revision; it changes with the content."""
        files = "".join(f"{name} {self.hash(name)}\n" for name in sorted(self.files))
        return hashlib.sha1(files.encode()).hexdigest()

    def hash(self, name: str) -> str:
        """SHA-256 of weights, git's SHA-1 of other files."""
        return _hash(self.files[name], is_large(name))


@dataclass(frozen=True)
class Asked:
    """A request that came."""

    method: str
    path: str
    range: str
    token: str


class FakeHub:
    """The server, as a context manager.

    Attributes:
        url: where it is.
        asked: the requests so far.
    """

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self._repositories: dict[str, Repository] = {}
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.hub = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> "FakeHub":
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        for repository in self._repositories.values():
            repository.gate.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def add(self, model_id: str, folder: Path, **attributes: Any) -> Repository:
        """Serve the files of a folder as a model; the attributes are those of `Repository`."""
        files = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
        repository = Repository(model_id, files, **attributes)
        self._repositories[model_id] = repository
        return repository

    def named(self, model_id: str) -> Repository | None:
        """The model of that id."""
        return self._repositories.get(model_id)

    def found(self, query: dict[str, list[str]]) -> list[Repository]:
        """The models that a search finds, the most used first."""
        text, author = query.get("search", [""])[0], query.get("author", [""])[0]
        fitting = [
            one
            for one in self._repositories.values()
            if text.lower() in one.id.lower() and author in ("", one.id.split("/")[0])
        ]
        fitting.sort(key=lambda one: one.downloads, reverse=True)
        return fitting[: int(query.get("limit", ["10"])[0])]

    def fetched(self, name: str) -> list[Asked]:
        """The requests for the content of a file."""
        return [one for one in self.asked if one.method == "GET" and one.path.endswith(f"/{name}")]

    def environment(self, home: Path) -> dict[str, str]:
        """What tells a program of this Hub: variables that it must have from its start."""
        return {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home),
            "HF_HUB_CACHE": str(home / "hub"),
            "HF_TOKEN_PATH": str(home / "token"),
            "HF_HUB_OFFLINE": "0",
            "TRANSFORMERS_OFFLINE": "0",
            "HF_TOKEN": "",
        }


@contextmanager
def used_by(monkeypatch: pytest.MonkeyPatch, hub: FakeHub, home: Path) -> Iterator[None]:
    """Tells this process's Hub client of the fake one; it reads its environment only once."""
    for name, value in hub.environment(home).items():
        monkeypatch.setenv(name, value)
    template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
    for name, told in {
        "ENDPOINT": hub.url,
        "HUGGINGFACE_CO_URL_TEMPLATE": template,
        "HF_HUB_CACHE": str(home / "hub"),
        "HF_TOKEN_PATH": str(home / "token"),
        "HF_HUB_OFFLINE": False,
    }.items():
        monkeypatch.setattr(constants, name, told)
    close_session()
    yield
    close_session()


@lru_cache
def _hash(content: bytes, is_large: bool) -> str:
    if is_large:
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()


def is_large(name: str) -> bool:
    """Whether the Hub keeps such a file apart from git."""
    return name.endswith(".safetensors")


class _Server(ThreadingHTTPServer):
    hub: FakeHub

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # killed clients are what we test
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    @property
    def _token(self) -> str:
        return self.headers.get("authorization", "").removeprefix("Bearer ")

    def _answer(self) -> None:
        address = urlsplit(self.path)
        path, asked_range = unquote(address.path), self.headers.get("range", "")
        self.server.hub.asked.append(Asked(self.command, path, asked_range, self._token))
        if self._token not in ("", TOKEN, *_GATED):
            self._refuse(401, "", "Invalid credentials in Authorization header")
        elif path == "/api/models":
            found = self.server.hub.found(parse_qs(address.query))
            self._send_json([_row(one) for one in found])
        else:
            self._answer_of_a_model(path.strip("/").split("/"))

    def _answer_of_a_model(self, parts: list[str]) -> None:
        is_api = parts[:2] == ["api", "models"]
        owner, name, what, *rest = [*parts[2 if is_api else 0 :], "", "", ""]
        file = "/".join(rest[1:]).strip("/")
        repository = self.server.hub.named(f"{owner}/{name}")
        if repository is None or (repository.is_private and self._token != TOKEN):
            self._refuse(404 if self._token else 401, "RepoNotFound", "Repository not found")
        elif repository.fault:
            self._fail(repository)
        elif is_api and what in ("", "revision"):
            self._send_json(_info(repository))
        elif is_api and what == "tree":
            self._send_json(_tree(repository))
        elif repository.is_gated and self._token != TOKEN:
            self._refuse(*_GATED.get(self._token, (401, "GatedRepo", "Please log in.")))
        elif is_api and what == "auth-check":
            self._send_json({})
        elif what == "resolve" and file in repository.files:
            self._send_file(repository, file)
        else:
            self._refuse(404, "EntryNotFound", "Entry not found")

    def _fail(self, repository: Repository) -> None:
        if repository.fault == "silent":
            repository.held.set()
            repository.gate.wait()
            self.close_connection = True
        elif repository.fault == "rate limited":
            self._refuse(429, "", "Too many requests", {"Retry-After": "42"})
        else:
            self._refuse(500, "", "Internal error")

    def _send_file(self, repository: Repository, name: str) -> None:
        content, size = repository.files[name], len(repository.files[name])
        fault = repository.file_fault if is_large(name) else ""
        if fault == "truncated":
            content = content[: size // 2]
        if fault == "damaged":
            content = content[:-1] + bytes([content[-1] ^ 1])
        start = int(self.headers.get("range", "bytes=0-")[len("bytes=") :].rstrip("-"))
        if start and start >= len(content):
            self._refuse(416, "", "Range not satisfiable")
            return
        headers = {
            "ETag": f'"{repository.hash(name)}"',
            "X-Repo-Commit": repository.commit,
            "Accept-Ranges": "bytes",
        }
        if is_large(name):
            linked = {"X-Linked-Size": str(size), "X-Linked-ETag": f'"{repository.hash(name)}"'}
            headers |= linked
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self._begin(206 if start else 200, len(content) - start, headers)
        if self.command == "GET":
            self._send_body(repository, fault, content, start)

    def _send_body(self, repository: Repository, fault: str, content: bytes, start: int) -> None:
        middle = len(content) // 2
        if fault in ("held", "cut") and start < middle:
            self._write(content[start:middle])
            start = middle
            if fault == "cut":
                self.close_connection = True
                return
        if fault == "held":
            repository.held.set()
            repository.gate.wait()
        self._write(content[start:])

    def _write(self, content: bytes) -> None:
        for begin in range(0, len(content), _PIECE_BYTES):
            self.wfile.write(content[begin : begin + _PIECE_BYTES])

    def _send_json(self, answer: Any) -> None:
        body = json.dumps(answer).encode()
        self._begin(200, len(body), {"Content-Type": "application/json"})
        if self.command == "GET":
            self.wfile.write(body)

    def _refuse(
        self, status: int, code: str, message: str, headers: dict[str, str] | None = None
    ) -> None:
        self._begin(status, 0, {"X-Error-Code": code, "X-Error-Message": message} | (headers or {}))

    def _begin(self, status: int, length: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(length)}.items():
            if value:
                self.send_header(name, value)
        self.end_headers()


def _row(repository: Repository) -> dict[str, Any]:
    return {
        "id": repository.id,
        "downloads": repository.downloads,
        "likes": repository.likes,
        "gated": "auto" if repository.is_gated else False,
        "safetensors": {"parameters": {"BF16": 1_000}, "total": 1_000},
    }


def _info(repository: Repository) -> dict[str, Any]:
    siblings = []
    for name, content in repository.files.items():
        entry: dict[str, Any] = {"rfilename": name, "size": len(content), "blobId": "0" * 40}
        if is_large(name):
            entry["lfs"] = {
                "sha256": repository.hash(name), "size": len(content), "pointerSize": 134,
            }  # fmt: skip
        else:
            entry["blobId"] = repository.hash(name)
        siblings.append(entry)
    more = {"sha": repository.commit, "private": repository.is_private, "siblings": siblings}
    return _row(repository) | more | {"tags": ["safetensors", "license:mit"]}


def _tree(repository: Repository) -> list[dict[str, Any]]:
    tree = []
    for name, content in repository.files.items():
        entry: dict[str, Any] = {
            "type": "file", "path": name, "size": len(content), "oid": repository.hash(name)[:40],
        }  # fmt: skip
        if is_large(name):
            large = {"oid": repository.hash(name), "size": len(content), "pointerSize": 134}
            entry["lfs"] = large
        tree.append(entry)
    return tree
