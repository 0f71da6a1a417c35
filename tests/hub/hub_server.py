"""A Hub in memory, on this machine: the part of the Hub's HTTP API that pushing and loading models uses.

What it answers, status codes and headers included, is what `huggingface_hub`'s client looks at. Files are kept by their
hash; a repository is branches of commits, a commit a mapping from paths to hashes.
"""

import base64
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

MAX_BODY = 32 * 2**20
LFS_SUFFIXES = (".safetensors", ".bin", ".pt")
NO_COMMIT = "0" * 40
WRITE, READ, OTHER = "hf_author", "hf_author_read_only", "hf_somebody_else"  # tokens


@dataclass
class User:
    """What a token may do: read what its owner may, and write to the owner's repositories if `write`."""

    name: str
    write: bool = True


@dataclass
class Repository:
    """`branches` map to commits, `commits` to files; `messages` are of the commits, in order. Spaces have `variables`."""

    private: bool = False
    variables: dict[str, str] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=lambda: {"main": NO_COMMIT})
    commits: dict[str, dict[str, str]] = field(default_factory=lambda: {NO_COMMIT: {}})
    messages: list[str] = field(default_factory=list)


class Refused(Exception):
    """An answer other than 200. `code` is what the client tells errors apart by."""

    def __init__(self, status: int, message: str, code: str | None = None):
        super().__init__(message)
        self.status, self.code = status, code


class HubServer:
    """Runs while in a `with` block; `url` is its address. Only this process changes `tokens`, `faults` and `log`.

    Attributes:
        tokens: Users by token.
        repositories: By "user/name", Spaces by "spaces/user/name", data sets by "datasets/user/name".
        blobs: Contents by sha256.
        lfs: Hashes of the files that were uploaded as large ones.
        faults: `(method, pattern, fault)`: how requests whose path matches are answered, where `fault` is a status, or
            "hang up" to close the connection half-way through the body.
        log: `(method, path)` of every request.
    """

    def __init__(self):
        self.tokens: dict[str, User] = {}
        self.repositories: dict[str, Repository] = {}
        self.blobs: dict[str, bytes] = {}
        self.lfs: set[str] = set()
        self.faults: list[tuple[str, str, int | str]] = []
        self.log: list[tuple[str, str]] = []
        self.lock = threading.RLock()
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def __enter__(self) -> "HubServer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=5)

    def files(self, repo_id: str, revision: str = "main") -> dict[str, bytes]:
        """What a revision holds, by path."""
        repository = self.repositories[repo_id]
        commit = repository.branches.get(revision, revision)
        return {path: self.blobs[oid] for path, oid in repository.commits[commit].items()}


class _Handler(BaseHTTPRequestHandler):
    hub: HubServer
    protocol_version = "HTTP/1.1"
    timeout = 30

    def log_message(self, *_: object) -> None:
        pass

    def _serve(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.log.append((self.command, path))
        fault = next((f for method, p, f in self.hub.faults if method == self.command and re.search(p, path)), None)
        length = int(self.headers.get("Content-Length") or 0)
        if fault == "hang up":
            self.rfile.read(length // 2)
            self.close_connection = True
            return
        body = self.rfile.read(min(length, MAX_BODY))
        try:
            if fault is not None:
                raise Refused(fault, "The server is not well.")
            with self.hub.lock:
                status, headers, answer = self._answer(path, body)
        except Refused as refusal:
            status = refusal.status
            headers = {"X-Error-Message": str(refusal)} | ({"X-Error-Code": refusal.code} if refusal.code else {})
            answer = {"error": str(refusal), "errors": [{"message": str(refusal)}], "warnings": []}
        content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_HEAD = do_POST = do_PUT = _serve

    # -------------------------------------------------------------------------------------------- permissions

    def _user(self) -> User | None:
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if token and token not in self.hub.tokens:
            raise Refused(401, "Invalid credentials in Authorization header")
        return self.hub.tokens.get(token)

    def _readable(self, repo_id: str) -> Repository:
        """The repository. One that is private, or is not there, looks the same to strangers: 401 without a token."""
        user = self._user()
        repository = self.hub.repositories.get(repo_id)
        if repository is None or (repository.private and (user is None or user.name != repo_id.split("/")[-2])):
            raise Refused(404 if user else 401, "Repository not found", "RepoNotFound")
        return repository

    def _writable(self, repo_id: str) -> Repository:
        repository = self._readable(repo_id)
        self._check_write(repo_id)
        return repository

    def _check_write(self, repo_id: str) -> None:
        user = self._user()
        if user is None:
            raise Refused(401, "Invalid username or password.")
        if not user.write or user.name != repo_id.split("/")[-2]:
            raise Refused(403, f"You don't have the rights to write under {repo_id.split('/')[0]}")

    def _commit_of(self, repository: Repository, revision: str) -> str:
        commit = repository.branches.get(revision, revision)
        if commit not in repository.commits:
            raise Refused(404, "Invalid rev id", "RevisionNotFound")
        return commit

    # ------------------------------------------------------------------------------------------------ answers

    def _answer(self, path: str, body: bytes) -> tuple[int, dict[str, str], dict | list | bytes]:
        for method, pattern, answer in ROUTES:
            match = re.fullmatch(pattern, path)
            if match and self.command in method:
                named = match.groupdict()
                if "repo_id" in named:
                    named["repo_id"] = named["repo_id"].removeprefix("models/")
                return answer(self, body, **named)
        raise Refused(404, f"There is no {self.command} {path} in this Hub")

    def _create(self, body: bytes):
        asked = json.loads(body)
        user = self._user()
        if user is None:
            raise Refused(401, "Invalid username or password.")
        kind = "spaces/" if asked.get("type") == "space" else ""
        if kind and "sdk" not in asked:
            raise Refused(400, '"sdk" is required')
        repo_id = f"{kind}{asked['organization'] or user.name}/{asked['name']}"
        self._check_write(repo_id)
        url = {"url": f"{self.hub.url}/{repo_id}"}
        if repo_id in self.hub.repositories:
            return 409, {}, {"error": "You already created this model repo", **url}
        self.hub.repositories[repo_id] = Repository(private=asked.get("visibility") == "private")
        return 200, {}, url

    def _set_variable(self, body: bytes, repo_id: str):
        variables = self._writable(repo_id).variables
        asked = json.loads(body)
        variables[asked["key"]] = asked["value"]
        return 200, {}, {key: {"value": value} for key, value in variables.items()}

    def _create_branch(self, body: bytes, repo_id: str, branch: str):
        repository = self._writable(repo_id)
        if branch in repository.branches:
            raise Refused(409, "Reference already exists")
        repository.branches[branch] = self._commit_of(repository, json.loads(body).get("startingPoint", "main"))
        return 200, {}, {}

    def _validate_yaml(self, body: bytes):
        content = json.loads(body)["content"]
        match = re.match(r"\s*---[\r\n]+(.*?)[\r\n]+---\s*[\r\n]", content, re.DOTALL)
        try:
            metadata = yaml.safe_load(match.group(1)) if match else {}
        except yaml.YAMLError as error:
            raise Refused(400, f"Invalid YAML: {error}") from error
        for model in (metadata or {}).get("model-index", []):
            for result in model["results"]:
                if not {"task", "dataset", "metrics"} <= set(result) or "type" not in result["task"]:
                    raise Refused(400, '"model-index" results need a task, a dataset and metrics')
        return 200, {}, {"errors": [], "warnings": [] if metadata else [{"message": "empty or missing yaml metadata"}]}

    def _preupload(self, body: bytes, repo_id: str, revision: str):
        repository = self._writable(repo_id)
        present = repository.commits[self._commit_of(repository, revision)]
        files = []
        for file in json.loads(body)["files"]:
            large = file["path"].endswith(LFS_SUFFIXES)
            oid = present.get(file["path"])
            if oid is not None and not large:  # as git counts
                blob = self.hub.blobs[oid]
                oid = hashlib.sha1(b"blob %d\0" % len(blob) + blob).hexdigest()
            answer = {"path": file["path"], "uploadMode": "lfs" if large else "regular", "shouldIgnore": False}
            files.append(answer | ({"oid": oid} if oid else {}))
        return 200, {}, {"files": files}

    def _lfs_batch(self, body: bytes, repo_id: str):
        self._writable(repo_id)
        objects = []
        for asked in json.loads(body)["objects"]:
            upload = {"upload": {"href": f"{self.hub.url}/lfs-storage/{asked['oid']}", "header": {}}}
            objects.append(asked | ({} if asked["oid"] in self.hub.lfs else {"actions": upload}))
        return 200, {"Content-Type": "application/vnd.git-lfs+json"}, {"transfer": "basic", "objects": objects}

    def _lfs_put(self, body: bytes, oid: str):
        if hashlib.sha256(body).hexdigest() != oid:
            raise Refused(400, "The content does not match its hash")
        self.hub.blobs[oid] = body
        self.hub.lfs.add(oid)
        return 200, {}, {}

    def _commit(self, body: bytes, repo_id: str, revision: str):
        repository = self._writable(repo_id)
        parent = self._commit_of(repository, revision)
        files, header = dict(repository.commits[parent]), {}
        for line in body.splitlines():
            item = json.loads(line)
            value = item["value"]
            if item["key"] == "header":
                header = value
            elif item["key"] == "file":
                content = base64.b64decode(value["content"])
                files[value["path"]] = hashlib.sha256(content).hexdigest()
                self.hub.blobs[files[value["path"]]] = content
            elif item["key"] == "lfsFile":
                if value["oid"] not in self.hub.lfs:
                    raise Refused(400, f"LFS pointer pointed to a file that does not exist: {value['path']}")
                files[value["path"]] = value["oid"]
            else:
                raise Refused(400, f"{item['key']} is more than this Hub can do")
        commit = hashlib.sha1(json.dumps([parent, header, files]).encode()).hexdigest()
        repository.commits[commit] = files
        repository.branches[revision] = commit
        repository.messages.append(header["summary"])
        url = f"{self.hub.url}/{repo_id}/commit/{commit}"
        return 200, {}, {"success": True, "commitOid": commit, "commitUrl": url}

    def _info(self, body: bytes, repo_id: str, revision: str = "main"):
        repository = self._readable(repo_id)
        commit = self._commit_of(repository, revision)
        siblings = [{"rfilename": path} for path in repository.commits[commit]]
        about = {"id": repo_id, "sha": commit, "private": repository.private, "tags": self._tags(repository)}
        return 200, {}, about | {"siblings": siblings}

    def _list_models(self, body: bytes):
        """Those that the user may read, with all of the tags that `filter` asks for."""
        user, asked = self._user(), parse_qs(urlsplit(self.path).query)
        models = []
        for repo_id, repository in self.hub.repositories.items():
            if repo_id.startswith(("spaces/", "datasets/")):
                continue
            owner = repo_id.split("/")[0]
            if (
                repository.private
                and (user is None or user.name != owner)
                or owner not in asked.get("author", [owner])
            ):
                continue
            tags = self._tags(repository)
            if set(asked.get("filter", [])) <= set(tags):
                models.append({"id": repo_id, "modelId": repo_id, "private": repository.private, "tags": tags})
        return 200, {}, models

    def _tags(self, repository: Repository) -> list[str]:
        """What the card's metadata say, as the Hub makes tags of them."""
        card = repository.commits[repository.branches["main"]].get("README.md")
        match = card and re.match(r"---\n(.*?)\n---\n", self.hub.blobs[card].decode(), re.DOTALL)
        metadata = yaml.safe_load(match.group(1)) if match else {}
        base = metadata.get("base_model", [])
        bases = [base] if isinstance(base, str) else base
        return [*metadata.get("tags", []), *(f"base_model:{name}" for name in bases)]

    def _tree(self, body: bytes, repo_id: str, revision: str, folder: str | None = None):
        repository = self._readable(repo_id)
        files = repository.commits[self._commit_of(repository, revision)]
        inside = [path for path in self._entries(files) if path.startswith(f"{folder}/" if folder else "")]
        if folder and not inside:
            raise Refused(404, f"{folder} does not exist", "EntryNotFound")
        if "recursive=true" not in urlsplit(self.path).query.lower():
            inside = [path for path in inside if path.count("/") == (folder.count("/") + 1 if folder else 0)]
        return 200, {}, [self._entries(files)[path] for path in inside]

    def _paths_info(self, body: bytes, repo_id: str, revision: str):
        repository = self._readable(repo_id)
        entries = self._entries(repository.commits[self._commit_of(repository, revision)])
        asked = parse_qs(body.decode()).get("paths", []) if b"paths=" in body else json.loads(body)["paths"]
        return 200, {}, [entries[path] for path in asked if path in entries]

    def _entries(self, files: dict[str, str]) -> dict[str, dict]:
        """Files and the folders that they are in, by path."""
        blobs = self.hub.blobs
        entries = {p: {"type": "file", "path": p, "oid": o, "size": len(blobs[o])} for p, o in files.items()}
        for path in files:
            for folder in map(str, Path(path).parents):
                if folder != ".":
                    entries[folder] = {"type": "directory", "path": folder, "oid": NO_COMMIT, "size": 0}
        return entries

    def _resolve(self, body: bytes, repo_id: str, revision: str, path: str):
        repository = self._readable(repo_id)
        commit = self._commit_of(repository, revision)
        headers = {"X-Repo-Commit": commit}
        oid = repository.commits[commit].get(path)
        if oid is None:
            headers |= {"X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found"}
            return 404, headers, b"Entry not found"
        return 200, headers | {"ETag": f'"{oid}"', "Accept-Ranges": "none"}, self.hub.blobs[oid]


REVISION = "(?P<revision>refs/convert/parquet|[^/]+)"
REPO = "(?P<repo_id>(spaces/|datasets/)?[^/]+/[^/]+)"  # in the addresses of files
API_REPO = "(?P<repo_id>(models|spaces|datasets)/[^/]+/[^/]+)"
ROUTES = [
    ("POST", "/api/repos/create", _Handler._create),
    ("GET", "/api/models", _Handler._list_models),
    ("POST", "/api/validate-yaml", _Handler._validate_yaml),
    ("POST", f"/api/{API_REPO}/variables", _Handler._set_variable),
    ("POST", f"/api/{API_REPO}/branch/(?P<branch>[^/]+)", _Handler._create_branch),
    ("POST", f"/api/{API_REPO}/preupload/{REVISION}", _Handler._preupload),
    ("POST", rf"/{REPO}\.git/info/lfs/objects/batch", _Handler._lfs_batch),
    ("PUT", "/lfs-storage/(?P<oid>[0-9a-f]{64})", _Handler._lfs_put),
    ("POST", f"/api/{API_REPO}/commit/{REVISION}", _Handler._commit),
    ("GET", f"/api/{API_REPO}", _Handler._info),
    ("GET", f"/api/{API_REPO}/revision/{REVISION}", _Handler._info),
    ("GET", f"/api/{API_REPO}/tree/{REVISION}(/(?P<folder>.+))?", _Handler._tree),
    ("POST", f"/api/{API_REPO}/paths-info/{REVISION}", _Handler._paths_info),
    ("GET HEAD", f"/{REPO}/resolve/{REVISION}/(?P<path>.+)", _Handler._resolve),
]
