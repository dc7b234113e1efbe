"""A hub on loopback: answers what huggingface_hub and transformers ask, and misbehaves on request.

It serves `root/<owner>/<name>/<revision>/<path>` (data sets below `root/datasets/`): branches with
a commit each, listings, small files with a git etag, large ones through a redirect to a second
port with a sha256 etag, ranges, gates and tokens, and it takes uploads over plain HTTP (no Xet).
A commit that was once seen stays served, also when its branch moves on. The requests and headers
are those of reliability section 4.2.

    with HubDouble(tmp_path) as hub:
        hub.add("owner/name", {"config.json": b"{}"}, revision="step1000")
        hub.fail("config.json", "status", code=503, method="GET")
        subprocess.run([...], env=hub.environment(home))
        assert hub.asked("config.json") == ["HEAD", "GET", "GET"]
"""

import hashlib
import json
import os
import re
import shutil
import socket
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

from tests.hub_uploads import LARGE, Uploads, git_sha1

TOKEN = "hf_doubleDoubleToilAndTrouble0123"
"""A token the double takes; made up."""
PAGE = b"<!doctype html><title>Welcome</title><p>Please accept the terms of this network."


@dataclass
class Fault:
    """Something to do wrong to requests whose path holds `match`."""

    match: str
    kind: str
    """status, hang, drop, cut, short, corrupt, norange, slow, html or headerless."""
    method: str | None = None
    times: int = 1
    """How many requests it still hits."""
    code: int = 500
    headers: dict[str, str] = field(default_factory=dict)
    share: float = 0.5
    """Of the body that is sent before a cut."""
    seconds: float = 0.05
    """How long a hang lasts, or a slow body waits between pieces."""
    piece: int = 65536


@dataclass
class Request:
    """One request that was answered."""

    method: str
    path: str
    headers: dict[str, str]
    port: int
    status: int | None = None


class HubDouble:
    """The two servers (hub and storage), what they hold and what they were asked."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.log: list[Request] = []
        self.faults: list[Fault] = []
        self.gated: set[str] = set()
        self.forbidden: set[str] = set()
        self.private: set[str] = set()
        self.tokens = {TOKEN}
        self.lock = threading.RLock()
        self.stopping = threading.Event()
        self.connections: set[socket.socket] = set()
        self._blobs: dict[str, bytes] = {}
        self._trees: dict[tuple[str, str], dict[str, str]] = {}

    # --- running -------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        double = self

        class Handler(_Handler):
            hub = double

        self._servers = [_Server(("127.0.0.1", 0), Handler) for _ in range(2)]
        for server in self._servers:
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        self.url, self.storage = (f"http://127.0.0.1:{s.server_port}" for s in self._servers)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Cut the network: both ports and every connection are closed."""
        self.stopping.set()
        for server in self._servers:
            server.shutdown()
            server.server_close()
        self._servers = []
        with self.lock:
            for connection in self.connections:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def environment(self, home: Path, **more: str) -> dict[str, str]:
        """The environment of a child process that takes this for the hub."""
        return {
            **{k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING"))},
            "HF_ENDPOINT": self.url, "HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_UPDATE_CHECK": "1", "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1", "OMP_NUM_THREADS": "1", **more,
        }

    # --- content -------------------------------------------------------------------------------

    def folder(self, repository: str, revision: str = "main", repo_type: str = "model") -> Path:
        """Where the files of a revision lie."""
        kind = "" if repo_type == "model" else f"{repo_type}s"
        return self.root / kind / repository / revision

    def add(
        self, repository: str, files: Mapping[str, bytes | Path], revision: str = "main",
        repo_type: str = "model",
    ) -> str:
        """Write files into a branch; its commit."""
        for name, content in files.items():
            path = self.folder(repository, revision, repo_type) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, Path):
                shutil.copyfile(content, path)
            else:
                path.write_bytes(content)
        kind = "" if repo_type == "model" else f"{repo_type}s/"
        return self.commit(kind + repository, revision)

    def branches(self, repository: str) -> list[str]:
        """Branches of `owner/name` or `datasets/owner/name`."""
        return sorted(p.name for p in (self.root / repository).iterdir() if p.is_dir())

    def commit(self, repository: str, revision: str) -> str:
        """The commit a branch is at; what it holds now is remembered under it."""
        folder, tree = self.root / repository / revision, {}
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            body = path.read_bytes()
            name = hashlib.sha256(body).hexdigest()
            self._blobs[name] = body
            tree[path.relative_to(folder).as_posix()] = name
        text = json.dumps([repository, revision, tree])
        commit = hashlib.sha1(text.encode()).hexdigest()
        with self.lock:
            self._trees[repository, commit] = tree
        return commit

    def tree(self, repository: str, revision: str) -> tuple[str, dict[str, str]] | None:
        """(commit, path -> sha256) of a branch or of a commit seen before; None if there is none.
        """
        if (repository, revision) in self._trees:
            return revision, self._trees[repository, revision]
        if not revision or not (self.root / repository / revision).is_dir():
            return None
        commit = self.commit(repository, revision)
        return commit, self._trees[repository, commit]

    def body(self, sha256: str) -> bytes:
        return self._blobs[sha256]

    def keep(self, body: bytes) -> str:
        """Take an uploaded body; its sha256."""
        name = hashlib.sha256(body).hexdigest()
        self._blobs[name] = body
        return name

    def holds(self, sha256: str) -> bool:
        return sha256 in self._blobs

    # --- faults and record ---------------------------------------------------------------------

    def fail(self, match: str, kind: str, **more: Any) -> Fault:
        """Do wrong to the next `times` requests whose path holds `match`."""
        fault = Fault(match, kind, **more)
        self.faults.append(fault)
        return fault

    def fault_of(self, method: str, path: str) -> Fault | None:
        """The fault that hits a request; it is used up once more."""
        with self.lock:
            for fault in self.faults:
                fits = fault.match in path and fault.method in (None, method)
                if fits and fault.times > 0:
                    fault.times -= 1
                    return fault
        return None

    def asked(self, match: str = "") -> list[str]:
        """Methods of the requests whose path holds `match`; the client's own check-in left out."""
        with self.lock:
            return [r.method for r in self.log
                    if match in r.path and "agent-harnesses" not in r.path]

    def forget(self) -> None:
        """Empty the record."""
        with self.lock:
            self.log.clear()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is what half of the tests are about."""


class _Handler(Uploads, BaseHTTPRequestHandler):
    hub: HubDouble
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        super().setup()
        with self.hub.lock:
            self.hub.connections.add(self.connection)

    def finish(self) -> None:
        with self.hub.lock:
            self.hub.connections.discard(self.connection)
        super().finish()

    def log_message(self, format: str, *args: Any) -> None:
        """The record is kept in `hub.log`."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    # --- one request ---------------------------------------------------------------------------

    def _answer(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            self.sent = self._chunks()
        else:
            self.sent = self.rfile.read(length)
        headers = {k.lower(): v for k, v in self.headers.items()}
        self.request_record = Request(
            self.command, self.path, headers, self.server.server_address[1]
        )
        with self.hub.lock:
            self.hub.log.append(self.request_record)
        self.fault = self.hub.fault_of(self.command, unquote(self.path))
        kind = self.fault.kind if self.fault else None
        if kind == "status":
            return self._send(self.fault.code, b"", self.fault.headers)
        if kind == "html":
            return self._send(200, PAGE, {"Content-Type": "text/html"})
        if kind == "hang":
            self.hub.stopping.wait(self.fault.seconds)
            return self._hang_up()
        if kind == "drop":
            return self._hang_up()
        return self._route(urlsplit(self.path))

    def _chunks(self) -> bytes:
        out = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            out += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return out

    def _route(self, url: Any) -> None:
        parts = [unquote(part) for part in url.path.strip("/").split("/")]
        if parts[0] in ("storage", "upload"):
            return self._storage(parts)
        if parts[:2] == ["api", "whoami-v2"]:
            return self._json({"name": "tester", "type": "user"} if self._token() else None)
        if parts[:2] == ["api", "validate-yaml"]:
            return self._json({"errors": [], "warnings": []})
        if parts[:3] == ["api", "repos", "create"]:
            return self._create()
        if parts[-4:] == ["info", "lfs", "objects", "batch"]:
            return self._batch()
        if parts[0] == "api" and len(parts) >= 4:
            kind = "" if parts[1] == "models" else f"{parts[1]}/"
            return self._api(kind + "/".join(parts[2:4]), parts[4:], parse_qs(url.query))
        if "resolve" in parts:
            place = parts.index("resolve")
            return self._resolve(
                "/".join(parts[:place]), parts[place + 1], "/".join(parts[place + 2 :])
            )
        return self._error(404)

    # --- what may be read ----------------------------------------------------------------------

    def _token(self) -> bool:
        return self.headers.get("authorization", "").removeprefix("Bearer ") in self.hub.tokens

    def _closed(self, repository: str) -> bool:
        """Whether a repository is shut to this request; then it was answered."""
        said = self.headers.get("authorization")
        if said and not self._token():
            self._error(401, "", "Invalid credentials in Authorization header")
        elif repository in self.hub.gated and not self._token():
            self._error(401, "GatedRepo", f"Access to {repository} is restricted.")
        elif repository in self.hub.forbidden:
            self._error(403, "", "Forbidden")
        elif not (self.hub.root / repository).is_dir() or repository.count("/") == 0:
            self._error(401 if not said else 404, "RepoNotFound", "Repository not found")
        else:
            return False
        return True

    def _api(self, repository: str, rest: list[str], query: dict[str, list[str]]) -> None:
        verb = rest[0] if rest else "revision"
        if self.command == "POST" and verb in ("preupload", "commit"):
            return self._upload(repository, verb, rest[1])
        if self._closed(repository):
            return None
        if verb == "refs":
            return self._json({"branches": [
                {"name": name, "ref": f"refs/heads/{name}",
                 "targetCommit": self.hub.commit(repository, name)}
                for name in self.hub.branches(repository)
            ], "converts": [], "tags": []})
        found = self.hub.tree(repository, rest[1] if len(rest) > 1 else "main")
        if found is None:
            return self._error(404, "RevisionNotFound", f"Invalid rev id: {rest[1]}")
        commit, tree = found
        if verb == "tree":
            return self._listing(tree, "/".join(rest[2:]), query)
        if verb == "revision":
            name, told = repository.removeprefix("datasets/"), "blobs" in query
            return self._json({
                "id": name, "modelId": name, "sha": commit,
                "private": repository in self.hub.private, "tags": [],
                "downloads": 0, "likes": 0, "gated": repository in self.hub.gated,
                "siblings": [self._sibling(path, name, told) for path, name in tree.items()],
            }, {"X-Repo-Commit": commit})
        return self._error(404)

    def _sibling(self, path: str, sha256: str, told: bool) -> dict[str, Any]:
        if not told:
            return {"rfilename": path}
        body = self.hub.body(sha256)
        entry = {"rfilename": path, "size": len(body), "blobId": git_sha1(body)}
        if path.endswith(LARGE):
            entry["lfs"] = {"sha256": sha256, "size": len(body), "pointerSize": 134}
        return entry

    def _listing(self, tree: dict[str, str], below: str, query: dict[str, list[str]]) -> None:
        entries = []
        for path, sha256 in tree.items():
            if below and not path.startswith(below + "/"):
                continue
            body = self.hub.body(sha256)
            entry = {"type": "file", "path": path, "size": len(body), "oid": git_sha1(body)}
            if path.endswith(LARGE):
                entry["lfs"] = {"oid": sha256, "size": len(body), "pointerSize": 134}
            entries.append(entry)
        if below and not entries:
            return self._error(404, "EntryNotFound", "no such folder")
        return self._json(entries)

    def _resolve(self, repository: str, revision: str, path: str) -> None:
        if self._closed(repository):
            return None
        found = self.hub.tree(repository, revision)
        if found is None:
            return self._error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        commit, tree = found
        headers = {"X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        if path not in tree:
            return self._error(404, "EntryNotFound", "Entry not found", headers)
        body = self.hub.body(tree[path])
        if not path.endswith(LARGE):
            return self._body(body, headers | {"ETag": f'"{git_sha1(body)}"'})
        headers |= {
            "X-Linked-Etag": f'"{tree[path]}"', "X-Linked-Size": str(len(body)),
            "Location": f"{self.hub.storage}/storage/{tree[path]}/{repository}/{path}",
        }
        return self._send(302, b"", headers)

    def _storage(self, parts: list[str]) -> None:
        if parts[0] == "upload":
            fits = self.command == "PUT" and self.hub.keep(self.sent) == parts[1]
            return self._send(200 if fits else 400)
        if not self.hub.holds(parts[1]):
            return self._error(404)
        return self._body(self.hub.body(parts[1]), {"ETag": f'"{parts[1]}"'})

    # --- answers -------------------------------------------------------------------------------

    def _json(self, value: Any, headers: dict[str, str] | None = None, status: int = 200) -> None:
        if value is None:
            return self._error(401, "", "Invalid credentials in Authorization header")
        return self._send(status, json.dumps(value).encode(),
                          {"Content-Type": "application/json", **(headers or {})})

    def _error(
        self, status: int, code: str = "", message: str = "", headers: dict[str, str] | None = None
    ) -> None:
        said = {"X-Error-Code": code, "X-Error-Message": message} if code or message else {}
        return self._send(status, b"", (headers or {}) | {k: v for k, v in said.items() if v})

    def _body(self, body: bytes, headers: dict[str, str]) -> None:
        """A file: whole or from the asked byte on, and with whatever fault it was given."""
        kind, status = self.fault.kind if self.fault else None, 200
        if kind == "corrupt":
            place = len(body) // 2
            body = body[:place] + bytes([body[place] ^ 1]) + body[place + 1 :]
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("range") or "")
        if asked and kind != "norange":
            total, start = len(body), int(asked[1])
            stop = min(int(asked[2]) + 1 if asked[2] else total, total)
            if start >= total:
                return self._send(416, b"", {"Content-Range": f"bytes */{total}"})
            headers |= {"Content-Range": f"bytes {start}-{stop - 1}/{total}"}
            body, status = body[start:stop], 206
        if kind == "short":
            body = body[: int(len(body) * self.fault.share)]
        if kind == "cut":
            self._send(status, body[: int(len(body) * self.fault.share)], headers, len(body))
            return self._hang_up()
        if kind == "slow" and self.command == "GET":
            return self._slowly(status, body, headers)
        return self._send(status, body, headers)

    def _slowly(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self._send(status, b"", headers, len(body))
        for start in range(0, len(body), self.fault.piece):
            self.wfile.write(body[start : start + self.fault.piece])
            self.wfile.flush()
            if self.hub.stopping.wait(self.fault.seconds):
                return self._hang_up()
        return None

    def _send(
        self, status: int, body: bytes = b"", headers: dict[str, str] | None = None,
        length: int | None = None,
    ) -> None:
        gone = {"X-Repo-Commit"} if self.fault and self.fault.kind == "headerless" else set()
        self.request_record.status = status
        self.send_response_only(status)
        for name, value in {"Content-Length": str(len(body) if length is None else length),
                            **(headers or {})}.items():
            if name not in gone:
                self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
            self.wfile.flush()

    def _hang_up(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)
