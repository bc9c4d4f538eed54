"""A model hub on loopback for the tests: real HTTP/1.1 servers that answer as the Hugging Face hub does.

Hub(repositories) starts two servers: the hub (api/models/..., .../resolve/...) and the object store to which large
files are redirected with a signature. `hub.fault` is asked before each reply and may put another in its place, cut it,
or let it hang, so that every test decides what breaks, and where.
"""
import dataclasses
import functools
import hashlib
import http.server
import json
import re
import socket
import threading
import urllib.parse

LARGE = (".safetensors", ".gguf", ".bin", ".pt")


@functools.lru_cache(maxsize=4096)
def git_oid(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@functools.lru_cache(maxsize=4096)
def sha256(data):
    return hashlib.sha256(data).hexdigest()


@dataclasses.dataclass
class Repository:
    """files: {path: bytes}; revisions: names of the commit; token: what a gated one asks for."""
    files: dict
    commit: str = "c0ffee" + "0" * 34
    revisions: tuple = ("main",)
    token: str = ""
    listed: dict = dataclasses.field(default_factory=dict)  # path -> entry of the list that replaces the true one

    def is_large(self, path):
        return path.endswith(LARGE)

    def entry(self, path):
        data = self.files[path]
        out = {"type": "file", "oid": git_oid(data), "size": len(data), "path": path}
        if self.is_large(path):
            pointer = b"version https://git-lfs.github.com/spec/v1\n" + sha256(data).encode()
            out["oid"] = git_oid(pointer)
            out["lfs"] = {"oid": sha256(data), "size": len(data), "pointerSize": len(pointer)}
        return out

    def entries(self):
        folders = sorted({path.rsplit("/", 1)[0] for path in self.files if "/" in path})
        out = [{"type": "directory", "oid": "0" * 40, "size": 0, "path": folder} for folder in folders]
        return out + [self.listed.get(path) or self.entry(path) for path in sorted({**self.files, **self.listed})]


@dataclasses.dataclass
class Request:
    kind: str  # "api", "resolve" or "store"
    path: str  # with its query
    headers: dict
    port: int
    number: int  # of its kind, from 0

    @property
    def range(self):
        """(first, last) of the bytes asked for, or None."""
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("range", ""))
        return (int(found[1]), int(found[2])) if found else None


@dataclasses.dataclass
class Reply:
    """What a fault answers instead of the truth."""
    status: int = 200
    headers: dict = dataclasses.field(default_factory=dict)
    body: bytes = b""
    length: int = -1  # the Content-Length that is said; -1: the true one, -2: none (the connection's end is the body's)


@dataclasses.dataclass
class Cut:
    """The true reply, but the connection ends after so many bytes of its body; hang: it stays open and silent."""
    after: int
    hang: bool = False


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def do_GET(self):  # noqa: N802
        hub = self.server.hub
        kind = "store" if self.server is hub.store else "api" if self.path.startswith("/api/") else "resolve"
        request = hub.note(kind, self.path, {k.lower(): v for k, v in self.headers.items()}, self.server.server_port)
        fault = hub.fault(request) if hub.fault else None
        reply = fault if isinstance(fault, Reply) else getattr(self, kind)(request)
        try:
            self.send(reply, fault if isinstance(fault, Cut) else None)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    do_HEAD = do_GET  # noqa: N815

    def send(self, reply, cut):
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if reply.length == -2:
            self.close_connection = True
            self.send_header("Connection", "close")
        else:
            self.send_header("Content-Length", str(len(reply.body) if reply.length < 0 else reply.length))
        self.end_headers()
        if self.command == "HEAD":
            return
        body = reply.body if cut is None else reply.body[:cut.after]
        for begin in range(0, len(body), 1 << 16):
            self.wfile.write(body[begin:begin + (1 << 16)])
        if cut is not None:
            self.wfile.flush()
            if cut.hang:
                self.server.hub.hanging.release()
                self.server.hub.go_on.wait()
            self.close_connection = True
            try:
                self.connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def refused(self, status, code, message):
        return Reply(status, {"X-Error-Code": code, "X-Error-Message": message}, json.dumps({"error": message}).encode())

    def repository(self, name, request):
        """(Repository, None) or (None, the refusal)."""
        found = self.server.hub.repositories.get(name)
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if not found:
            return None, self.refused(404 if token else 401, "RepoNotFound", "Repository not found")
        if found.token and request.kind == "resolve" and token != found.token:
            return None, self.refused(403 if token else 401, "GatedRepo", f"Access to model {name} is restricted.")
        return found, None

    def api(self, request):
        url = urllib.parse.urlsplit(request.path)
        parts = re.fullmatch(r"/api/models/([^/]+/[^/]+)/(revision|tree)/([^/]+)", url.path)
        if not parts:
            return self.refused(404, "RepoNotFound", "no such page")
        repository, refusal = self.repository(parts[1], request)
        if refusal:
            return refusal
        revision = urllib.parse.unquote(parts[3])
        if revision not in (*repository.revisions, repository.commit):
            return self.refused(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        if parts[2] == "revision":
            siblings = [{"rfilename": path} for path in sorted(repository.files)]
            return Reply(body=json.dumps({"id": parts[1], "sha": repository.commit, "siblings": siblings}).encode())
        entries, query = repository.entries(), dict(urllib.parse.parse_qsl(url.query))
        begin, headers = int(query.get("cursor", 0)), {}
        if begin + self.server.hub.page_size < len(entries):
            query["cursor"] = begin + self.server.hub.page_size
            target = f"{self.server.hub.url}{url.path}?{urllib.parse.urlencode(query)}"
            headers["Link"] = f'<{target}>; rel="next"'
        return Reply(headers=headers, body=json.dumps(entries[begin:begin + self.server.hub.page_size]).encode())

    def resolve(self, request):
        parts = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", urllib.parse.urlsplit(request.path).path)
        if not parts:
            return self.refused(404, "RepoNotFound", "no such page")
        repository, refusal = self.repository(parts[1], request)
        path = urllib.parse.unquote(parts[3])
        if refusal:
            return refusal
        if path not in repository.files:
            return self.refused(404, "EntryNotFound", "Entry not found")
        data = repository.files[path]
        headers = {"X-Repo-Commit": repository.commit}
        if repository.is_large(path):
            headers |= {"X-Linked-Size": str(len(data)), "X-Linked-ETag": f'"{sha256(data)}"',
                        "Location": f"{self.server.hub.store_url}/{sha256(data)}?X-Signature=SIGNATURE-OF-THE-STORE"}
            return Reply(302, headers, b"Found. Redirecting")
        return self.content(data, {**headers, "ETag": f'"{git_oid(data)}"'}, request)

    def store(self, request):
        name = urllib.parse.urlsplit(request.path).path[1:]
        for repository in self.server.hub.repositories.values():
            for data in repository.files.values():
                if sha256(data) == name:
                    return self.content(data, {"ETag": f'"{name[:32]}"'}, request)
        return Reply(404)

    def content(self, data, headers, request):
        """The body, or the range of it that was asked for."""
        if not self.server.hub.ranges:
            return Reply(headers=headers, body=data)
        tag = request.headers.get("if-range")
        if not request.range or (tag and tag != headers["ETag"]):
            return Reply(headers={**headers, "Accept-Ranges": "bytes"}, body=data)
        first, last = request.range
        if first >= len(data):
            return Reply(416, {"Content-Range": f"bytes */{len(data)}"})
        last = min(last, len(data) - 1)
        return Reply(206, {**headers, "Content-Range": f"bytes {first}-{last}/{len(data)}"}, data[first:last + 1])


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, hub, host, tls=None):
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.hub = hub
        super().__init__((host, 0), Handler)
        if tls:
            self.socket = tls.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.url = f"http{'s' if tls else ''}://{f'[{host}]' if ':' in host else host}:{self.server_port}"
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def handle_error(self, *_):
        pass  # a client that went away


class Hub:
    """Both servers; a context manager. `requests` holds what was asked, in order. tls: an ssl.SSLContext, or None."""

    def __init__(self, repositories, host="127.0.0.1", tls=None, store_tls=None):
        self.repositories = repositories
        self.fault = None
        self.ranges = True
        self.page_size = 1000
        self.requests = []
        self.hanging = threading.Semaphore(0)  # released once for each reply that hangs
        self.go_on = threading.Event()
        self._lock = threading.Lock()
        self.hub, self.store = Server(self, host, tls), Server(self, host, store_tls)
        self.url, self.store_url = self.hub.url, self.store.url

    def note(self, kind, path, headers, port):
        with self._lock:
            number = sum(request.kind == kind for request in self.requests)
            self.requests.append(Request(kind, path, headers, port, number))
            return self.requests[-1]

    def asked(self, kind):
        with self._lock:
            return [request for request in self.requests if request.kind == kind]

    def close(self):
        self.go_on.set()
        for server in (self.hub, self.store):
            server.shutdown()
            server.server_close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
