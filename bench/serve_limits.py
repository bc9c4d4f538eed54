#!/usr/bin/env python3
"""What a server of ours costs and how soon it lets go: memory of many streams that wait, and cancelling in mid-prompt.
  bench/serve_limits.py FATHOM MODEL [--streams 2000] [--template FILE]
The last lines of docs/performance.md's table of servers under load. Linux only."""
import argparse
import json
import re
import resource
import socket
import subprocess
import time


def rss_mb(pid):
    with open(f"/proc/{pid}/status") as status:
        return int(re.search(r"VmRSS:\s+(\d+) kB", status.read())[1]) / 1024


class Server:
    def __init__(self, arguments):
        self.process = subprocess.Popen([arguments.fathom, "serve", arguments.model, "--port", "0", "--ctx", "8192",
                                         "--access-log", "off", "--store", "none", "--max-requests",
                                         str(arguments.streams + 100),
                                         *(["--template", arguments.template] if arguments.template else [])],
                                        stderr=subprocess.PIPE, text=True)
        for line in self.process.stderr:
            if found := re.match(r"listening on http://127\.0\.0\.1:(\d+)", line):
                self.port = int(found[1])
                return
        raise SystemExit("the server did not start")

    def send(self, method, path, body=None):
        text = json.dumps(body) if body is not None else ""
        connection = socket.create_connection(("127.0.0.1", self.port))
        connection.sendall(f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                           f"Content-Length: {len(text)}\r\n\r\n{text}".encode())
        return connection

    def chat(self, text, tokens):
        return self.send("POST", "/v1/chat/completions", {"messages": [{"role": "user", "content": text}], "stream": True,
                                                          "max_tokens": tokens, "ignore_eos": True})

    def in_flight(self):
        connection, seen = self.send("GET", "/metrics"), b""
        while not (found := re.search(rb"\nfathom_requests_in_flight (\d+)", seen)):
            seen += connection.recv(65536)
        return int(found[1])


def until(connection, mark, seen=b""):
    while mark not in seen and (block := connection.recv(65536)):
        seen += block
    return seen


def cancelled(server, stream, after):
    """Milliseconds from asking, `after` seconds after the stream's first event, to its end."""
    seen = until(stream, b"}\n\n")
    answer = re.search(rb'"id":"([^"]+)"', seen)[1].decode()
    time.sleep(after)
    begin = time.monotonic()
    server.send("POST", f"/v1/chat/completions/{answer}/cancel", {})
    until(stream, b"[DONE]", seen)
    return round((time.monotonic() - begin) * 1e3)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fathom")
    parser.add_argument("model")
    parser.add_argument("--streams", type=int, default=2000)
    parser.add_argument("--template")
    arguments = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, arguments.streams + 500), most))
    server = Server(arguments)
    until(server.chat("Hi", 20), b"[DONE]")
    ends = [cancelled(server, server.chat(f"{i} " + "the of and to " * 270, 100), 0.5 + 0.3 * i) for i in range(6)]
    print(f"cancelled while its prompt is read: the stream ended after {ends} ms")
    others = [server.chat(f"{i}", 1000) for i in range(7)]
    ends = [cancelled(server, server.chat(f"{i}", 1000), 0.5 + 0.3 * i) for i in range(6)]
    print(f"cancelled beside 7 answers: the stream ended after {ends} ms")
    for other in others:
        other.close()
    before = rss_mb(server.process.pid)
    streams = [server.chat(f"Hi {i}", 400) for i in range(arguments.streams)]
    while server.in_flight() < arguments.streams:
        time.sleep(0.2)
    time.sleep(5)
    print(f"{arguments.streams} streams: {rss_mb(server.process.pid) - before:.0f} MB more")
    begin = time.monotonic()
    until(server.send("GET", "/health"), b"\r\n\r\n")
    print(f"/health beside them: {(time.monotonic() - begin) * 1e3:.1f} ms")
    for stream in streams:
        stream.close()
    begin = time.monotonic()
    while server.in_flight():
        time.sleep(0.01)
    print(f"all gone {(time.monotonic() - begin) * 1e3:.0f} ms after they hung up")
    server.process.terminate()


if __name__ == "__main__":
    main()
