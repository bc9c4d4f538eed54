#!/usr/bin/env python3
"""What breaks on the way of a pull, each made to break by the server: connections, replies, hashes, names, disks."""
import json
import shutil
import ssl
import subprocess
import unittest

import _fathom
from _hub_home import MIB, NAME, TAKEN, TOKEN, Home, content, folder_model
from _hub_server import Cut, Reply, git_oid, sha256

GGUF = content(300_000, 11)


def cut_first(after, times=1, hang=False, kind="store"):
    """Cuts the first `times` replies of this kind."""
    return lambda request: Cut(after, hang) if request.kind == kind and request.number < times else None


class Broken(Home):
    def test_cut_at_any_byte_and_gone_on_with(self):
        hub = self.hub({"x.gguf": GGUF})
        for cut in (0, 1, 2, 1000, 65_535, 65_536, 150_000, len(GGUF) - 2, len(GGUF) - 1):
            hub.requests.clear()
            hub.fault = cut_first(cut)
            code, _, err = self.pull(hub, NAME, "--retries", "0")
            self.assertEqual(code, 1, cut)
            self.assertIn((NAME, "partial"), self.listed()) if cut else None
            self.assert_not_installed()
            err = self.pulled(hub)
            last = hub.asked("store")[-1]
            self.assertEqual(last.range, (cut, len(GGUF) - 1) if cut else None, err)
            self.assertEqual("if-range" in last.headers, cut > 0)
            self.assert_files({"x.gguf": GGUF})
            self.assertEqual(self.run_fathom(hub, "rm", NAME, "--yes")[0], 0)

    def test_a_server_that_breaks_every_connection(self):
        hub = self.hub(folder_model())
        hub.fault = lambda request: Cut(70_000) if request.kind == "store" else None
        err = self.pulled(hub)
        self.assertIn("trying again", err)
        self.assert_files({path: folder_model()[path] for path in TAKEN})

    def test_large_files_come_in_pieces(self):
        data = content(20 * MIB + 5, 12)
        hub = self.hub({"x.gguf": data})
        # The second piece breaks, is asked for from where it broke, and comes.
        hub.fault = lambda request: Cut(MIB) if request.kind == "store" and request.range == (8 * MIB, 16 * MIB - 1) else None
        self.pulled(hub)
        ranges = sorted(request.range for request in hub.asked("store"))
        self.assertEqual(ranges, [(0, 8 * MIB - 1), (8 * MIB, 16 * MIB - 1), (9 * MIB, 16 * MIB - 1), (16 * MIB, 20 * MIB + 4)])
        self.assert_files({"x.gguf": data})

    def test_one_connection_at_a_time(self):
        hub = self.hub({"x.gguf": content(17 * MIB, 13)})
        self.pulled(hub, NAME, "--connections", "1")
        firsts = [request.range[0] for request in hub.asked("store")]
        self.assertEqual(firsts, [0, 8 * MIB, 16 * MIB])

    def test_a_server_without_ranges(self):
        data = content(20 * MIB, 14)
        hub = self.hub({"x.gguf": data})
        hub.ranges = False
        err = self.pulled(hub)
        self.assertIn("sends whole files only", err)
        self.assert_files({"x.gguf": data})

    def test_a_server_without_ranges_that_breaks(self):
        hub = self.hub({"x.gguf": GGUF})
        hub.ranges = False
        hub.fault = cut_first(100_000)
        err = self.pulled(hub)
        self.assertIn("starting over", err)
        self.assert_files({"x.gguf": GGUF})
        self.assertEqual(self.run_fathom(hub, "rm", NAME, "--yes")[0], 0)
        hub.fault = cut_first(100_000, times=1000)
        code, _, err = self.pull(hub, NAME, "--retries", "2")
        self.assertEqual(code, 1)
        self.assertIn("tried 3 times", err)
        self.assert_not_installed()

    def test_another_tag_with_the_same_content(self):
        hub = self.hub({"x.gguf": GGUF})
        hub.fault = cut_first(100_000)
        self.assertEqual(self.pull(hub, NAME, "--retries", "0")[0], 1)
        state = self.models / "acme" / ".tiny.pulling" / "parts" / "x.gguf.part.json"
        state.write_text(state.read_text().replace('"etag":"\\"', '"etag":"\\"other'))
        self.assertIn("tag", self.pulled(hub))
        self.assertEqual(hub.asked("store")[-1].range, (100_000, len(GGUF) - 1))
        self.assert_files({"x.gguf": GGUF})

    def test_silence(self):
        hub = self.hub({"x.gguf": GGUF})
        hub.fault = cut_first(0, hang=True)  # libcurl's speed is that of some seconds: later it takes longer
        err = self.pulled(hub, NAME, "--timeout", "1")
        self.assertIn("trying again", err)
        self.assert_files({"x.gguf": GGUF})

    def test_refused_connections(self):
        hub = self.hub({"x.gguf": GGUF})
        hub.close()
        code, _, err = self.pull(hub, NAME, "--retries", "1")
        self.assertEqual(code, 1)
        self.assertIn("tried 2 times", err)

    def test_damaged_states_begin_anew(self):
        hub = self.hub({"x.gguf": GGUF})
        parts = self.models / "acme" / ".tiny.pulling" / "parts"
        for text in ("", "{", "[]", '{"format": "fathom.part"}', '{"format":"fathom.part","version":1,"size":300000,'
                     f'"identity":"{sha256(GGUF)}","piece_bytes":1,"done":[1]}}', "x" * 1000,
                     f'{{"format":"fathom.part","version":1,"size":300000,"identity":"{sha256(GGUF)}","piece_bytes":8388608,'
                     '"done":[300000]}'):
            hub.requests.clear()
            hub.fault = cut_first(100_000)
            self.assertEqual(self.pull(hub, NAME, "--retries", "0")[0], 1)
            (parts / "x.gguf.part.json").write_text(text)
            (self.models / "acme" / ".tiny.pulling" / "plan.json").write_text(text)
            self.assertIn((NAME, "partial"), self.listed())
            self.pulled(hub)
            self.assertIsNone(hub.asked("store")[-1].range)
            self.assert_files({"x.gguf": GGUF})
            self.assertEqual(self.run_fathom(hub, "rm", NAME, "--yes")[0], 0)


class Replies(Home):
    def test_retry_after(self):
        for kind, status in (("api", 429), ("resolve", 503)):
            hub = self.hub({"x.gguf": GGUF})
            hub.fault = lambda request, kind=kind, status=status: (
                Reply(status, {"Retry-After": "1"}) if request.kind == kind and request.number == 0 else None)
            err = self.pulled(hub)
            self.assertIn(f"status {status}", err)
            self.assertIn("trying again in 1 s", err)
            self.assertEqual(self.run_fathom(hub, "rm", NAME, "--yes")[0], 0)

    def test_too_long_a_wait_and_endless_errors(self):
        hub = self.hub({"x.gguf": GGUF})
        hub.fault = lambda request: Reply(429, {"Retry-After": "100000"}) if request.kind == "store" else None
        code, _, err = self.pull(hub)
        self.assertEqual(code, 1)
        self.assertIn("100000 s", err)
        hub.fault = lambda request: Reply(500) if request.kind == "resolve" else None
        code, _, err = self.pull(hub, NAME, "--retries", "2")
        self.assertEqual(code, 1)
        self.assertIn("tried 3 times", err)

    def test_an_expired_signature(self):
        hub = self.hub({"x.gguf": GGUF})
        hub.fault = lambda request: Reply(403) if request.kind == "store" and request.number == 0 else None
        self.assertIn("status 403", self.pulled(hub))
        self.assert_files({"x.gguf": GGUF})

    def test_wrong_content(self):
        bad = GGUF[:1000] + b"!" + GGUF[1001:]
        hub = self.hub({"x.gguf": GGUF, "README.md": b"right"})
        hub.fault = lambda request: Reply(body=bad) if request.kind == "store" else None
        code, _, err = self.pull(hub)
        self.assertEqual(code, 1)
        self.assertIn(f"expected {sha256(GGUF)}, found {sha256(bad)}", err)
        self.assert_not_installed()
        self.run_fathom(hub, "rm", NAME, "--yes")
        hub.fault = lambda request: Reply(body=b"wrong") if request.path.endswith("README.md") else None
        code, _, err = self.pull(hub)
        self.assertEqual(code, 1)
        self.assertIn(f"expected {git_oid(b'right')}, found {git_oid(b'wrong')}", err)
        self.assert_not_installed()
        hub.fault = None
        self.pulled(hub)
        self.assert_files({"x.gguf": GGUF, "README.md": b"right"})

    def test_wrong_sizes_and_hashes_in_headers(self):
        hub = self.hub({"x.gguf": GGUF})
        size, url = len(GGUF), f"{hub.store_url}/{sha256(GGUF)}"
        for kind, reply, text in (
                ("store", Reply(body=GGUF + b"x"), f"size: expected {size}, found {size + 1}"),
                ("store", Reply(body=GGUF + b"x" * 9, length=-2), "found more"),
                ("store", Reply(body=GGUF[:-1]), f"size: expected {size}, found {size - 1}"),
                ("store", Reply(body=GGUF[:-1], length=-2), "the reply ended after"),
                ("store", Reply(206, {"Content-Range": f"bytes 5-{size - 1}/{size}"}, GGUF[5:]), "Content-Range"),
                ("store", Reply(206, {}, GGUF), "Content-Range"),
                ("store", Reply(204), "status"),
                ("store", Reply(404), "status 404"),
                ("store", Reply(416), "status 416"),
                ("resolve", Reply(302, {"X-Linked-Size": "7", "Location": url}), f"size: expected {size}, found 7"),
                ("resolve", Reply(302, {"X-Linked-ETag": '"' + "0" * 64 + '"', "Location": url}), "sha256: expected"),
                ("resolve", Reply(302, {"Location": "file:///etc/passwd"}), "http or https"),
                ("resolve", Reply(302, {"Location": "gopher://127.0.0.1:1/x"}), "http or https"),
                ("resolve", Reply(302), "http or https"),
                ("resolve", Reply(302, {"Location": hub.url + "/acme/tiny/resolve/main/x.gguf"}), "redirects"),
                ("resolve", Reply(200, {f"X-{i}": "x" for i in range(300)}, GGUF), "headers"),
                ("resolve", Reply(200, {"X-Long": "x" * 20_000}, GGUF), "headers")):
            with self.subTest(text=text, reply=str(reply)[:80]):
                hub.fault = lambda request, kind=kind, reply=reply: reply if request.kind == kind else None
                code, _, err = self.pull(hub, NAME, "--retries", "0")
                self.assertEqual(code, 1, err)
                self.assertIn(text, err)
                self.assert_not_installed()
                self.run_fathom(hub, "rm", NAME, "--yes")
        hub.fault = None
        self.pulled(hub)

    def test_broken_lists(self):
        hub = self.hub({"x.gguf": GGUF})
        for path, body in (("/revision/", b""), ("/revision/", b"[]"), ("/revision/", b"{}"), ("/revision/", b'{"sha":"main"}'),
                           ("/revision/", b'{"sha":"../../../../../../../../../../../../etc"}'), ("/revision/", b'{"sha":5}'),
                           ("/revision/", b"<html>"), ("/tree/", b"{}"), ("/tree/", b"[1]"), ("/tree/", b"[" * 100_000),
                           ("/tree/", b'[{"type":"file"}]'), ("/tree/", b'[{"type":"file","path":"a","size":-1,"oid":"0"}]'),
                           ("/tree/", b'[{"type":"file","path":"a","size":1e30,"oid":"0"}]'),
                           ("/tree/", b'[{"type":"file","path":"a","size":1,"oid":"zz"}]'), ("/tree/", b"[" + b" " * (65 * MIB) + b"]"),
                           ("/tree/", json.dumps([hub.repositories[NAME].entry("x.gguf")] * 2).encode())):
            with self.subTest(path=path, body=body[:60]):
                hub.fault = lambda request, path=path, body=body: Reply(body=body) if path in request.path else None
                code, _, err = self.pull(hub)
                self.assertEqual(code, 1, err)
                self.assertFalse(self.models.exists())

    def test_pages_without_end(self):
        hub = self.hub({"x.gguf": GGUF})
        link = {"Link": f'<{hub.url}/api/x?cursor=1>; rel="next"'}
        hub.fault = lambda request: Reply(headers=link, body=b"[]") if "/tree/" in request.path else None
        code, _, err = self.pull(hub)
        self.assertEqual(code, 1)
        self.assertIn("at most 1000 pages", err)

    def test_hostile_paths(self):
        hub = self.hub({"x.gguf": GGUF, "config.json": b"{}"})
        entry = hub.repositories[NAME].entry("config.json")
        for path in ("../evil", "/etc/evil", "a/../../evil", "a//b", "./x", "a/.", "a\x00b", "a\nb", "a\x1b[31m", "..\\evil", "",
                     "x" * 300, "/".join("abcdefghijklmnopqrst")):
            with self.subTest(path=path[:40]):
                hub.repositories[NAME].listed = {"evil": {**entry, "path": path}}
                code, _, err = self.pull(hub, NAME, "--all")
                self.assertEqual(code, 1)
                self.assertIn("stays in the model's folder", err)
                self.assertNotIn("\x1b", err)
                self.assertFalse(self.models.exists())

    def test_unknown_things(self):
        hub = self.hub({"x.gguf": GGUF})
        for what, more, text in (("acme/other", {}, "no such model"), ("acme/other", {"HF_TOKEN": TOKEN}, "no such model"),
                                 (NAME + ":y.gguf", {}, "y.gguf")):
            code, _, err = self.pull(hub, what, env=more)
            self.assertEqual(code, 1)
            self.assertIn(text, err)
        code, _, err = self.pull(hub, NAME, "--revision", "v9")
        self.assertEqual(code, 1)
        self.assertIn("no such revision", err)
        hub.fault = lambda request: Reply(404, {"X-Error-Code": "EntryNotFound"}) if request.kind == "resolve" else None
        code, _, err = self.pull(hub)
        self.assertEqual(code, 1)
        self.assertIn("no such file", err)


class Token(Home):
    def test_a_gated_model(self):
        hub = self.hub({"x.gguf": GGUF, "README.md": b"r"}, token=TOKEN)
        code, _, err = self.pull(hub)
        self.assertEqual(code, 1)
        self.assertIn("HF_TOKEN", err)
        self.assertIn("accept the terms", err)
        code, _, err = self.pull(hub, env={"HF_TOKEN": "hf_another"})
        self.assertEqual(code, 1)
        self.assertIn("account", err)
        self.assertNotIn("hf_another", err)
        err = self.pulled(hub, NAME, "--log", "debug", env={"HF_TOKEN": TOKEN + "\n"})
        self.assertIn(f"HF_TOKEN is sent to {hub.url}", err)
        self.assert_files({"x.gguf": GGUF, "README.md": b"r"})
        self.assertIn(f"Bearer {TOKEN}", [request.headers.get("authorization") for request in hub.asked("resolve")])
        self.assertTrue(hub.asked("store"))  # another port: another server
        for request in hub.asked("store"):
            self.assertNotIn("authorization", request.headers)
            self.assertNotIn(TOKEN, str(request))
        self.assertTrue(all(TOKEN.encode() not in path.read_bytes() for path in self.home.rglob("*") if path.is_file()))

    def test_redirects_within_the_hub_keep_it(self):
        hub = self.hub({"README.md": b"r", "x.gguf": GGUF}, token=TOKEN)
        moved = {"Location": "/acme/tiny/resolve/" + "c0ffee" + "0" * 34 + "/README.md?download=1"}
        hub.fault = lambda request: Reply(307, moved) if request.path.endswith("README.md") else None
        self.pulled(hub, env={"FATHOM_HUB_TOKEN": TOKEN})
        self.assert_files({"x.gguf": GGUF, "README.md": b"r"})

    def test_files_of_the_token(self):
        for place, more in (("hub-token", {}), ("hf/token", {"HF_HOME": str(self.home / "hf")}),
                            ("t", {"HF_TOKEN_PATH": str(self.home / "t")}), (".cache/huggingface/token", {})):
            hub = self.hub({"x.gguf": GGUF}, token=TOKEN)
            path = self.home / place
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f" {TOKEN}\n")
            self.pulled(hub, env=more)
            path.unlink()
            self.run_fathom(hub, "rm", NAME, "--yes")

    def test_what_is_no_token(self):
        hub = self.hub({"x.gguf": GGUF})
        for value in (f"{TOKEN}\r\nX-Evil: 1", f"{TOKEN} {TOKEN}", TOKEN + "\u00fc", TOKEN * 1000):
            code, _, err = self.pull(hub, env={"HF_TOKEN": value})
            self.assertEqual(code, 1)
            self.assertIn("HF_TOKEN: expected a token", err)
        self.assertEqual(hub.requests, [])

    def test_not_over_http_beyond_this_machine(self):
        # A name that is this machine but does not say so; nothing listens there.
        code, _, err = self.pull(None, NAME, "--endpoint", "http://fathom.invalid:9", "--retries", "0", env={"HF_TOKEN": TOKEN})
        self.assertEqual(code, 1)
        self.assertIn("not sent over http", err)
        self.assertIn("not encrypted", err)


class Endpoint(Home):
    def test_flag_environment_and_config(self):
        hub = self.hub({"x.gguf": GGUF})
        (self.home / "config.toml").write_text(f'endpoint = "{hub.url}/"\n')
        self.pulled(None)
        self.pulled(None, NAME, env={"HF_ENDPOINT": hub.url})
        (self.home / "config.toml").write_text('endpoint = "http://127.0.0.1:1"\n')
        self.pulled(None, NAME, "--endpoint", hub.url)
        self.assertEqual(self.assert_files({"x.gguf": GGUF})["endpoint"], hub.url)

    def test_addresses_that_are_none(self):
        for url in ("", "huggingface.co", "ftp://x", "file:///etc", "https://user:pw@x", "https://x/?a=b", "https://"):
            code, _, err = self.pull(None, NAME, "--endpoint", url, "--retries", "0")
            self.assertEqual(code, 2, url + err)
            self.assertNotIn("pw", err)


@unittest.skipUnless(shutil.which("openssl"), "needs openssl to make a certificate")
class Encrypted(Home):
    def setUp(self):
        super().setUp()
        key, self.certificate = self.home / "key.pem", self.home / "certificate.pem"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                        "-keyout", key, "-out", self.certificate, "-days", "30000", "-subj", "/CN=hub",
                        "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(self.certificate, key)

    def test_certificates_are_checked(self):
        hub = self.hub({"x.gguf": GGUF}, tls=self.tls, store_tls=self.tls)
        code, _, err = self.pull(hub)
        self.assertEqual(code, 1)
        self.assertIn("certificate", err)
        self.assertNotIn("trying again", err)
        self.assertEqual(hub.requests, [])
        self.pulled(hub, env={"SSL_CERT_FILE": str(self.certificate)})
        self.assert_files({"x.gguf": GGUF})

    def test_no_way_from_https_to_http(self):
        hub = self.hub({"x.gguf": GGUF}, tls=self.tls)
        code, _, err = self.pull(hub, env={"SSL_CERT_FILE": str(self.certificate), "HF_TOKEN": TOKEN})
        self.assertEqual(code, 1)
        self.assertIn("expected a redirect to https", err)
        self.assertEqual(hub.asked("store"), [])
        self.assert_not_installed()


if __name__ == "__main__":
    _fathom.harness.main()
