#!/usr/bin/env python3
"""A server with keys: who may ask for what, the page's login, and those who guess."""
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

import _fathom
from _server import PATIENCE_S, Server, raw_post, read_until, wait_until

sys.path.insert(0, str(_fathom.ROOT / "tests" / "clients"))
import install  # noqa: E402

MODEL = _fathom.GOLDEN / "gguf" / "qwen2.gguf"
ONE, TWO = "sk-one-0123456789abcdef", "sk-two-0123456789abcdef"
OPEN = {"/health", "/ready"}
BODY = {"model": MODEL.stem, "max_tokens": 4, "messages": [{"role": "user", "content": "Hi"}]}


class Keyed(Server):
    """It speaks with `key`, if it has one."""
    key = None

    def request(self, method, path, body=None, headers=None):
        own = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        return super().request(method, path, body, {**own, **(headers or {})})

    def as_nobody(self, method, path, body=None, **headers):
        return super().request(method, path, body, headers)


def cookie_of(reply):
    return reply.headers["set-cookie"].split(";")[0]


@unittest.skipUnless(MODEL.exists(), "fathom serve needs golden/gguf/qwen2.gguf")
class Keys(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.keys = self.folder / "keys"
        self.write(f"# of the tests\nlaptop {ONE}\n{TWO}\n")

    def write(self, text):
        """In one step, as `mv` does."""
        aside = self.folder / "aside"
        aside.write_text(text)
        aside.chmod(0o600)
        aside.rename(self.keys)

    def start(self, *more, keys=True):
        server = Keyed(MODEL, "--template", _fathom.ROOT / "tests/clients/thinking.jinja", "--ctx", "512", "--store",
                       self.folder / "store.sqlite", *(("--keys", self.keys) if keys else ()), *more)
        self.addCleanup(server.close)
        server.key = ONE
        return server

    def test_every_route_needs_a_key(self):
        server = self.start()
        described = server.get("/openapi.json").json()
        self.assertEqual(described["security"], [{"bearer": []}, {"x-api-key": []}])
        self.assertEqual(set(described["components"]["securitySchemes"]), {"bearer", "x-api-key"})
        routes = [(method.upper(), path, operation) for path, methods in described["paths"].items()
                  for method, operation in methods.items()]
        self.assertGreater(len(routes), 40)
        for method, path, operation in routes:
            asked = path.replace("{name}", MODEL.stem).replace("{id}", "none")
            for place in (asked, f"/v1{asked}", f"/beta{asked}"):
                with self.subTest(method=method, path=place):
                    body = BODY if method == "POST" else None
                    refused = server.as_nobody(method, place, body)
                    if path in OPEN:
                        self.assertEqual(operation["security"], [])
                        self.assertEqual(refused.status, 200)
                        continue
                    self.assertNotIn("security", operation)
                    self.assertEqual(refused.status, 401, refused.body)
                    self.assertTrue(refused.headers["www-authenticate"].startswith("Bearer"))
                    self.assertNotEqual(server.request(method, place, body).status, 401)
        # Of each protocol its own words.
        error = server.as_nobody("POST", "/v1/chat/completions", BODY).error
        self.assertEqual(sorted(error), ["code", "message", "param", "type"])
        self.assertEqual((error["type"], error["code"]), ("authentication_error", "missing_api_key"))
        anthropic = server.as_nobody("POST", "/v1/messages", BODY).json()
        self.assertEqual((anthropic["type"], anthropic["error"]["type"]), ("error", "authentication_error"))
        self.assertIsInstance(server.as_nobody("POST", "/api/chat", BODY).error, str)
        # The page's own files are for everybody, what it asks for is not.
        page = server.as_nobody("GET", "/")
        self.assertEqual(page.status, 200)
        for name in re.findall(r'"(/assets/[^"]+)"', page.body.decode()):
            self.assertEqual(server.as_nobody("GET", name).status, 200, name)
        for method, path in (("GET", "/app/api/state"), ("GET", "/app/api/events"), ("POST", "/app/api/chats"),
                             ("GET", "/app/api/login"), ("POST", "/app/api/nothing"), ("GET", "/nothing"),
                             ("POST", "/"), ("OPTIONS", "/v1/models"), ("GET", "/metrics")):
            self.assertEqual(server.as_nobody(method, path).status, 401, path)

    def test_both_headers_and_both_keys(self):
        server = self.start()
        for key in (ONE, TWO):
            self.assertEqual(server.as_nobody("POST", "/v1/chat/completions", BODY, Authorization=f"Bearer {key}").status, 200)
            self.assertEqual(server.as_nobody("POST", "/v1/messages", BODY, **{"x-api-key": key}).status, 200)
        lines = [json.loads(line) for line in server.log if line.startswith("{")]
        wait_until(lambda: {"laptop", "line 3"} <= {json.loads(line).get("key") for line in server.log if line.startswith("{")},
                   f"the keys' names in the log: {lines}")

    def test_what_is_no_key(self):
        server = self.start()
        for wrong in (ONE[:-1], ONE + "x", ONE.upper(), f"{ONE} {ONE}", "", "x" * 20_000):
            reply = server.as_nobody("GET", "/v1/models", Authorization=f"Bearer {wrong}")
            self.assertEqual((reply.status, reply.error["code"]), (401, "invalid_api_key"), wrong[:40])
            self.assertNotIn(ONE, reply.body.decode())
        self.assertEqual(server.as_nobody("GET", "/v1/models", Authorization="Bearer " + "x" * 70_000).status, 431)

        def raw(*headers):
            with server.connect() as plain:
                plain.sendall(raw_post("/v1/models", b"", *headers).replace(b"POST", b"GET", 1))
                return int(read_until(plain, b"\r\n").split()[1])

        self.assertEqual(raw(f"Authorization: Bearer {ONE}"), 200)
        self.assertEqual(raw(f"Authorization:   Bearer   {ONE}  "), 200)
        self.assertEqual(raw(f"Authorization: Bearer {ONE}", f"Authorization: Bearer {ONE}"), 400)
        self.assertEqual(raw(f"x-api-key: {ONE}", f"X-API-Key: {ONE}"), 400)
        self.assertEqual(raw(f"Authorization: Bearer\r\n {ONE}"), 400)
        self.assertEqual(raw(f"Authorization: Bearer {ONE}\rx: y"), 400)
        self.assertEqual(raw(f"Authorization: Bearer {ONE}\0"), 400)
        self.assertEqual(raw(f"Authorization: Bearer {ONE}\xa0"), 401)
        self.assertFalse([line for line in server.log if ONE in line or ONE[:-1] in line])
        self.assertTrue([line for line in server.log if "a wrong key from 127.0.0.1" in line], server.log)

    def test_the_login(self):
        server = self.start()
        server.key = None
        wrong = server.post("/app/api/login", key="nobody-knows-this")
        self.assertEqual((wrong.status, wrong.error["code"]), (401, "invalid_api_key"))
        self.assertNotIn("set-cookie", wrong.headers)
        for body in ({}, {"key": ""}, {"key": 5}, {"key": ONE, "more": 1}, [ONE], b"{"):
            self.assertEqual(server.request("POST", "/app/api/login", body).status, 400, body)
        foreign = {"Origin": "http://evil.example"}
        self.assertEqual(server.request("POST", "/app/api/login", {"key": ONE}, foreign).status, 403)
        done = server.request("POST", "/app/api/login", {"key": ONE}, {"Origin": server.url})
        self.assertEqual(done.status, 200, done.body)
        self.assertRegex(done.headers["set-cookie"], rf"^fathom_session_{server.port}=[0-9a-f]{{64}}; Path=/; HttpOnly; "
                                                     r"SameSite=Strict; Max-Age=2592000$")
        cookie = {"Cookie": cookie_of(done)}
        behind_tls = server.request("POST", "/app/api/login", {"key": ONE}, {"X-Forwarded-Proto": "https"})
        self.assertTrue(behind_tls.headers["set-cookie"].endswith("; Secure"))

        state = server.get("/app/api/state", **cookie)
        self.assertTrue(state.json()["login"])
        self.assertEqual(cookie_of(state), cookie["Cookie"], "it lasts from now on")
        self.assertEqual(server.request("POST", "/v1/chat/completions", BODY, cookie).status, 200)
        self.assertEqual(server.request("POST", "/v1/chat/completions", BODY, {**cookie, **foreign}).status, 403)
        self.assertEqual(server.get("/app/api/state", **cookie, **{"Sec-Fetch-Site": "cross-site"}).status, 403)
        self.assertEqual(server.get("/app/api/state", Cookie=cookie["Cookie"][:-1] + "g").status, 401)
        stored = (self.folder / "store.sqlite").read_bytes() + (self.folder / "store.sqlite-wal").read_bytes()
        self.assertNotIn(cookie["Cookie"].split("=")[1].encode(), stored)
        self.assertNotIn(ONE.encode(), stored)

        # Its stream of events ends with it.
        with server.connect() as plain:
            plain.sendall(f"GET /app/api/events HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nCookie: {cookie['Cookie']}\r\n\r\n".encode())
            read_until(plain, b"hello")
            out = server.request("POST", "/app/api/logout", {}, cookie)
            self.assertEqual(out.status, 200)
            self.assertIn("=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0", out.headers["set-cookie"])
            read_until(plain, b"0\r\n\r\n")
        over = server.get("/app/api/state", **cookie)
        self.assertEqual((over.status, over.error["code"]), (401, "session_over"))

    def test_sessions_outlive_the_server_but_not_their_key(self):
        server = self.start()
        cookie = {"Cookie": cookie_of(server.post("/app/api/login", key=ONE))}
        server.terminate()
        self.assertEqual(server.exit_code(), 0)
        again = self.start()
        again.key = None
        # The cookie's name has the port, which is another one here.
        cookie["Cookie"] = cookie["Cookie"].replace(str(server.port), str(again.port), 1)
        self.assertEqual(again.get("/app/api/state", **cookie).status, 200)
        with again.connect() as plain:
            plain.sendall(f"GET /app/api/events HTTP/1.1\r\nHost: 127.0.0.1:{again.port}\r\nCookie: {cookie['Cookie']}\r\n\r\n".encode())
            read_until(plain, b"hello")
            self.write(f"{TWO}\n")
            self.assertEqual(again.get("/app/api/state", **cookie).status, 401)
            read_until(plain, b"0\r\n\r\n")
        self.assertEqual(again.get("/v1/models", Authorization=f"Bearer {ONE}").status, 401)
        self.assertEqual(again.get("/v1/models", Authorization=f"Bearer {TWO}").status, 200)
        # A file that has become bad takes nobody's key away, and the log says so.
        self.write("short\n")
        self.assertEqual(again.get("/v1/models", Authorization=f"Bearer {TWO}").status, 200)
        wait_until(lambda: [line for line in again.log if "the keys stay as they were" in line], "a line of the log")

    def test_guessing_at_speed(self):
        server = self.start()
        self.assertEqual(server.get("/v1/models").status, 200)
        cookie = {"Cookie": cookie_of(server.post("/app/api/login", key=ONE))}
        statuses = [server.as_nobody("GET", "/v1/models", Authorization=f"Bearer guess-{i}").status for i in range(60)]
        self.assertEqual(statuses[:20], [401] * 20)
        self.assertGreater(statuses.count(429), 30)
        refused = server.as_nobody("POST", "/v1/messages", BODY, **{"x-api-key": "guess"})
        self.assertEqual((refused.status, refused.json()["error"]["type"]), (429, "rate_limit_error"))
        self.assertGreater(int(refused.headers["retry-after"]), 0)
        self.assertEqual(server.request("POST", "/app/api/login", {"key": TWO}, {"Authorization": ""}).status, 429,
                         "a right key that has never been seen here is a guess, too")
        # The owner works on: with his key, with his session, and from elsewhere.
        self.assertEqual(server.get("/v1/models").status, 200)
        self.assertEqual(server.as_nobody("GET", "/app/api/state", **cookie).status, 200)
        self.assertEqual(server.as_nobody("GET", "/v1/models", Authorization=f"Bearer {TWO}",
                                          **{"X-Forwarded-For": "6.6.6.6, 192.0.2.7"}).status, 200)
        metrics = server.get("/metrics").body.decode()
        self.assertRegex(metrics, r'fathom_auth_failures_total\{reason="wrong"\} 2\d\n')
        self.assertRegex(metrics, r'fathom_auth_failures_total\{reason="limited"\} [34]\d\n')
        self.assertIn("fathom_sessions 1\n", metrics)

    def test_keys_that_are_refused(self):
        def refusal(text, mode=0o600, **env):
            self.keys.unlink(missing_ok=True)
            self.keys.write_text(text)
            self.keys.chmod(mode)
            code, _, said = _fathom.run("serve", MODEL, "--port", "0", "--store", "none", "--keys", self.keys, env=env)
            self.assertEqual(code, 1, said)
            self.assertNotIn("secret", said)
            return said

        self.assertIn("keys: expected a file of keys for its owner alone, found that others may read or change it (mode 644)",
                      refusal("secret-secret-secret", 0o644))
        self.assertIn("keys:1: expected a key of 16 to 512 characters, found one of 6", refusal("secret"))
        self.assertIn("keys: expected a key, found none", refusal("# nothing\n"))
        self.assertIn("FATHOM_API_KEY: expected a key of 16", refusal("secret-secret-secret", FATHOM_API_KEY="secret"))

    def test_a_key_of_the_environment(self):
        os.environ["FATHOM_API_KEY"] = ONE
        try:
            server = self.start("--store", "none", keys=False)
        finally:
            del os.environ["FATHOM_API_KEY"]
        self.assertIn("(this machine only, with a key)", server.log[-1] if "listening" in server.log[-1] else "".join(server.log))
        self.assertEqual(server.as_nobody("GET", "/v1/models").status, 401)
        self.assertEqual(server.get("/v1/models").status, 200)
        process = pathlib.Path(f"/proc/{server.process.pid}/cmdline").read_bytes()
        self.assertNotIn(ONE.encode(), process)

    def test_without_keys_there_is_no_login(self):
        server = self.start(keys=False)
        server.key = None
        self.assertFalse(server.get("/app/api/state").json()["login"])
        self.assertEqual(server.post("/app/api/login", key=ONE).status, 404)
        self.assertEqual(server.request("GET", "/v1/models", headers={"Authorization": "Bearer anything"}).status, 200)
        self.assertNotIn("security", server.get("/openapi.json").json())

    def test_the_official_clients(self):
        if failed := install.install_python():
            self.skipTest(f"the clients from PyPI: {failed}")
        server = self.start()
        for key, want in ((ONE, 200), ("sk-wrong-0123456789abcdef", 401)):
            code = f"""
import anthropic, openai
for call in (
    lambda: openai.OpenAI(base_url="{server.url}/v1", api_key="{key}", max_retries=0).chat.completions.create(**{BODY!r}),
    lambda: anthropic.Anthropic(base_url="{server.url}", api_key="{key}", max_retries=0).messages.create(**{BODY!r}),
    lambda: anthropic.Anthropic(base_url="{server.url}", auth_token="{key}", max_retries=0).messages.create(**{BODY!r})):
    try:
        call()
        print(200)
    except (openai.AuthenticationError, anthropic.AuthenticationError) as e:
        print(e.status_code)
"""
            environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
            done = subprocess.run([install.PYTHON, "-c", code], capture_output=True, text=True, env=environment,
                                  timeout=PATIENCE_S)
            self.assertEqual(done.stdout.split(), [str(want)] * 3, done.stderr)


if __name__ == "__main__":
    _fathom.harness.main()
