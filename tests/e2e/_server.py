"""`fathom serve` for the tests: started on a port that the system chooses, asked over plain sockets, ended by SIGTERM."""
import contextlib
import http.client
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import tempfile
import threading
import time
import unittest

import _fathom

# Only ends a test that hangs: every wait is for an answer.
PATIENCE_S = 240


class Reply:
    """A whole answer: status, headers in small letters, body."""

    def __init__(self, status, headers, body):
        self.status, self.body = status, body
        self.headers = {name.lower(): value for name, value in headers}

    def json(self):
        return json.loads(self.body)

    @property
    def error(self):
        return self.json()["error"]

    @property
    def text(self):
        """Of the first choice."""
        choice = self.json()["choices"][0]
        return choice["message"]["content"] if "message" in choice else choice["text"]


class Server:
    """A running `fathom serve`. As a context: it is ended at the end."""

    def __init__(self, *arguments):
        # A store belongs to one server: those of a test may run beside each other.
        store = [] if "--store" in arguments else ["--store", "none"]
        command = [str(_fathom.FATHOM), "serve", *map(str, arguments), *store, "--port", "0"]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.PIPE, text=True, start_new_session=True,
                                        env={**os.environ, "FATHOM_HOME": _fathom.FATHOM_HOME})
        self.log = []
        for line in self.process.stderr:
            self.log.append(line)
            if found := re.match(r"listening on http://127\.0\.0\.1:(\d+)", line):
                self.port = int(found[1])
                break
        else:
            raise AssertionError(f"no server: exit code {self.process.wait()}\n{''.join(self.log)}")
        self.url = f"http://127.0.0.1:{self.port}"
        self.reader = threading.Thread(target=lambda: self.log.extend(self.process.stderr), daemon=True)
        self.reader.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Ends it, whatever runs."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.reader.join()
        self.process.stderr.close()

    def terminate(self):
        self.process.send_signal(signal.SIGTERM)

    def exit_code(self):
        return self.process.wait(PATIENCE_S)

    def request(self, method, path, body=None, headers=None):
        """`body`: bytes as they are, anything else as JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        with contextlib.closing(connection):
            if body is not None and not isinstance(body, bytes):
                body = json.dumps(body).encode()
            connection.request(method, path, body, {"Content-Type": "application/json", **(headers or {})})
            response = connection.getresponse()
            return Reply(response.status, response.getheaders(), response.read())

    def get(self, path, **headers):
        return self.request("GET", path, headers=headers)

    def post(self, path, body=None, **fields):
        return self.request("POST", path, fields if body is None else body)

    def chat(self, text, **fields):
        return self.post("/v1/chat/completions", messages=[{"role": "user", "content": text}], **fields)

    def stream(self, path, **fields):
        """The events of a stream, parsed; the last one was [DONE]."""
        reply = self.post(path, stream=True, **fields)
        assert reply.status == 200, reply.body
        return events(reply.body)

    def connect(self, receive_buffer=None):
        """A plain socket."""
        plain = socket.socket()
        if receive_buffer:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        plain.settimeout(PATIENCE_S)
        plain.connect(("127.0.0.1", self.port))
        return plain


class ServerTest(unittest.TestCase):
    """Tests of servers over the small model that can chat, with a folder of the class's own; skipped without a model."""

    @classmethod
    def setUpClass(cls):
        cls.model = _fathom.chat_model()
        if not cls.model:
            raise unittest.SkipTest("fathom serve needs a small model that can chat")
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)


def events(body):
    """The data of server-sent events; comments are left out."""
    lines = [line for line in body.decode().split("\n\n") if line]
    data = [line.removeprefix("data: ") for line in lines if not line.startswith(":")]
    assert data[-1] == "[DONE]", data[-1]
    return [json.loads(line) for line in data[:-1]]


def raw_post(path, body, *headers):
    """A request's bytes."""
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json",
            f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def read_until(plain, mark):
    """What a socket gives up to and with `mark`, and what came behind it."""
    got = b""
    while mark not in got:
        piece = plain.recv(4096)
        assert piece, f"the server closed the connection before {mark!r}: {got[-400:]!r}"
        got += piece
    return got


def wait_until(condition, what):
    """The limit only ends a test that hangs."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, f"never came: {what}"
        time.sleep(0.02)
