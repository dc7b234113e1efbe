"""What `tests.hub_double` answers to uploads over plain HTTP: large files by sha256, no Xet."""

import base64
import hashlib
import json
from typing import Any

LARGE = (".safetensors", ".bin", ".pt", ".npy", ".parquet")
"""Suffixes that are kept in large-file storage and hashed with sha256."""


def git_sha1(body: bytes) -> str:
    """The name git gives a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()


class Uploads:
    """The part of a request handler that takes files in; the rest answers for it."""

    hub: Any
    sent: bytes
    _token: Any
    _error: Any
    _json: Any

    def _create(self) -> None:
        if not self._token():
            return self._error(401, "", "Invalid credentials in Authorization header")
        asked = json.loads(self.sent)
        name = f"{asked.get('organization') or 'tester'}/{asked['name']}"
        folder = self.hub.folder(name, "main", asked.get("type") or "model")
        status = 409 if folder.is_dir() else 200
        folder.mkdir(parents=True, exist_ok=True)
        kind = "" if asked.get("type") in (None, "model") else f"{asked['type']}s/"
        if status == 200 and (asked.get("private") or asked.get("visibility") == "private"):
            self.hub.private.add(kind + name)
        return self._json({"url": f"{self.hub.url}/{kind}{name}"}, status=status)

    def _batch(self) -> None:
        if not self._token():
            return self._error(401, "", "Invalid credentials in Authorization header")
        objects = []
        for wanted in json.loads(self.sent)["objects"]:
            entry: dict[str, Any] = {"oid": wanted["oid"], "size": wanted["size"]}
            if not self.hub.holds(wanted["oid"]):
                href = f"{self.hub.storage}/upload/{wanted['oid']}"
                entry["actions"] = {"upload": {"href": href}}
            objects.append(entry)
        return self._json({"transfer": "basic", "objects": objects})

    def _upload(self, repository: str, verb: str, revision: str) -> None:
        if not self._token():
            return self._error(401, "", "Invalid credentials in Authorization header")
        if not (self.hub.root / repository).is_dir():
            return self._error(404, "RepoNotFound", "Repository not found")
        _, tree = self.hub.tree(repository, revision) or ("", {})
        if verb == "preupload":
            files = []
            for asked in json.loads(self.sent)["files"]:
                path, mode = asked["path"], "regular"
                if path.endswith(LARGE):
                    mode = "lfs"
                here = self.hub.body(tree[path]) if path in tree else None
                oid = tree[path] if path in tree and mode == "lfs" else None
                if here is not None and mode == "regular":
                    oid = git_sha1(here)
                files.append({"path": path, "uploadMode": mode, "shouldIgnore": False,
                              "oid": oid})
            return self._json({"files": files})
        folder = self.hub.root / repository / revision
        for line in self.sent.splitlines():
            item = json.loads(line)
            value = item["value"]
            if item["key"] == "header":
                continue
            path = folder / value["path"]
            if item["key"] == "deletedFile":
                path.unlink(missing_ok=True)
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            if item["key"] == "file":
                path.write_bytes(base64.b64decode(value["content"]))
            elif item["key"] == "lfsFile":
                path.write_bytes(self.hub.body(value["oid"]))
        commit = self.hub.commit(repository, revision)
        return self._json({
            "success": True, "commitOid": commit,
            "commitUrl": f"{self.hub.url}/{repository}/commit/{commit}",
        })
