#!/usr/bin/env python3
"""/v1/files and /v1/batches: uploads, requests by the file, a server that is killed in the middle of one."""
import json

import _fathom
from _server import Server, ServerTest, wait_until

CHAT = "/v1/chat/completions"


def chats(count, **fields):
    return [{"custom_id": f"line {i}", "method": "POST", "url": CHAT, "body": {
        "model": "deepseek-chat", "messages": [{"role": "user", "content": f"Tell me about the number {i}."}], "max_tokens": 12,
        **fields}} for i in range(count)]


def form(content, purpose="batch", filename="requests.jsonl", **fields):
    """(content type, body)."""
    parts = [(f'name="{name}"', value.encode()) for name, value in {"purpose": purpose, **fields}.items()]
    parts.append((f'name="file"; filename="{filename}"', content))
    body = b"".join(b"--mark\r\nContent-Disposition: form-data; " + head.encode() + b"\r\n\r\n" + value + b"\r\n"
                    for head, value in parts)
    return {"Content-Type": "multipart/form-data; boundary=mark"}, body + b"--mark--\r\n"


def upload(server, content, **fields):
    headers, body = form(content if isinstance(content, bytes) else jsonl(content), **fields)
    return server.request("POST", "/v1/files", body, headers)


def jsonl(lines):
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


def begin(server, lines, endpoint=CHAT):
    file = upload(server, lines).json()["id"]
    made = server.post("/v1/batches", input_file_id=file, endpoint=endpoint, completion_window="24h")
    assert made.status == 200, made.body
    return made.json()["id"]


def batch(server, name):
    return server.get(f"/v1/batches/{name}").json()


def finished(server, name):
    wait_until(lambda: batch(server, name)["status"] in ("completed", "failed", "cancelled"), "the end of the batch")
    return batch(server, name)


def lines_of(server, file):
    return [json.loads(line) for line in server.get(f"/v1/files/{file}/content").body.splitlines()]


def texts(lines):
    return {line["custom_id"]: line["response"]["body"]["choices"][0]["message"]["content"] for line in lines}


class Batches(ServerTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.server = cls.started("store")
        cls.addClassCleanup(cls.server.close)

    @classmethod
    def started(cls, store):
        return Server(cls.model, "--ctx", "1024", "--store", cls.folder / store)

    def test_files(self):
        content = bytes(range(256)) * 5
        made = upload(self.server, content, purpose="user_data", filename="a b.bin").json()
        self.assertEqual((made["object"], made["bytes"], made["filename"], made["purpose"]),
                         ("file", len(content), "a b.bin", "user_data"))
        path = f"/v1/files/{made['id']}"
        self.assertEqual(self.server.get(path).json(), made)
        self.assertEqual(self.server.get(f"{path}/content").body, content)
        listed = self.server.get("/v1/files?purpose=user_data&limit=1").json()
        self.assertEqual((listed["data"], listed["has_more"]), ([made], False))
        self.assertTrue(self.server.request("DELETE", path).json()["deleted"])
        for gone in (path, f"{path}/content"):
            self.assertEqual(self.server.get(gone).status, 404)
        self.assertEqual(upload(self.server, b"x", **{"expires_after[seconds]": "1"}).json()["error"]["param"], "expires_after")
        self.assertEqual(upload(self.server, b"x", purpose="fun").json()["error"]["param"], "purpose")
        self.assertEqual(self.server.post("/v1/files", {"purpose": "batch"}).status, 400)
        headers, body = form(b"x")
        self.assertEqual(self.server.request("POST", "/v1/files", body[:-20], headers).status, 400)

    def test_each_line_is_a_request(self):
        lines = chats(3, seed=5)
        lines[1]["body"]["temperature"] = 1000
        done = finished(self.server, begin(self.server, lines))
        self.assertEqual((done["status"], done["request_counts"]), ("completed", {"total": 3, "completed": 2, "failed": 1}))
        output = lines_of(self.server, done["output_file_id"])
        self.assertEqual([line["custom_id"] for line in output], ["line 0", "line 2"])
        for line in output:
            asked = next(one for one in lines if one["custom_id"] == line["custom_id"])
            alone = self.server.post(CHAT, asked["body"]).json()
            self.assertEqual(line["response"]["status_code"], 200)
            self.assertEqual(line["response"]["body"]["choices"], alone["choices"])
        (refused,) = lines_of(self.server, done["error_file_id"])
        self.assertEqual((refused["custom_id"], refused["response"]["status_code"]), ("line 1", 400))
        self.assertEqual(refused["response"]["body"]["error"]["param"], "temperature")

    def test_other_endpoints(self):
        for endpoint, body, look in (
                ("/v1/completions", {"prompt": "One, two,", "max_tokens": 2}, lambda r: r["choices"][0]["text"]),
                ("/v1/embeddings", {"input": "rain"}, lambda r: r["data"][0]["embedding"]),
                ("/v1/responses", {"input": "Hi", "max_output_tokens": 2}, lambda r: r["output"][0]["type"] == "message")):
            with self.subTest(endpoint):
                line = {"custom_id": "a", "method": "POST", "url": endpoint, "body": body}
                done = finished(self.server, begin(self.server, [line], endpoint))
                (output,) = lines_of(self.server, done["output_file_id"])
                self.assertTrue(look(output["response"]["body"]))
                self.assertEqual("seed" in output, endpoint != "/v1/embeddings")

    def test_what_is_wrong_with_a_file_is_told(self):
        for lines, line, message in (([], None, "found none"), (chats(1) + chats(1), 2, "custom_id"),
                                     (b"{}\nnonsense", 1, "custom_id"), (chats(2, stream=True), 1, "body.stream")):
            failed = finished(self.server, begin(self.server, lines))
            error = failed["errors"]["data"][0]
            self.assertEqual((failed["status"], error["line"]), ("failed", line))
            self.assertIn(message, error["message"])
        file = upload(self.server, chats(1)).json()["id"]
        (self.folder / "store.files" / file).unlink()
        self.assertEqual(self.server.get(f"/v1/files/{file}/content").status, 404)
        made = self.server.post("/v1/batches", input_file_id=file, endpoint=CHAT, completion_window="24h").json()
        self.assertIn("not there", finished(self.server, made["id"])["errors"]["data"][0]["message"])
        for fields, param in (({"input_file_id": "file-none"}, "input_file_id"), ({"endpoint": "/v1/models"}, "endpoint"),
                              ({"completion_window": "1h"}, "completion_window")):
            good = {"input_file_id": upload(self.server, chats(1)).json()["id"], "endpoint": CHAT, "completion_window": "24h"}
            self.assertEqual(self.server.post("/v1/batches", {**good, **fields}).json()["error"]["param"], param)
        self.assertEqual(self.server.get("/v1/batches/batch_none").status, 404)

    def test_cancelled(self):
        name = begin(self.server, chats(40, max_tokens=200, ignore_eos=True))
        wait_until(lambda: batch(self.server, name)["request_counts"]["completed"] > 0, "the first line")
        self.assertEqual(self.server.post(f"/v1/batches/{name}/cancel", {}).json()["status"], "cancelling")
        over = finished(self.server, name)
        counts = over["request_counts"]
        self.assertEqual(over["status"], "cancelled")
        self.assertLess(counts["completed"], 40)
        self.assertEqual(len(lines_of(self.server, over["output_file_id"])), counts["completed"])
        self.assertIn(name, [one["id"] for one in self.server.get("/v1/batches").json()["data"]])

    def test_cancelled_while_its_file_is_read(self):
        name = begin(self.server, chats(20_000))
        self.assertEqual(self.server.post(f"/v1/batches/{name}/cancel", {}).json()["status"], "cancelling")
        over = finished(self.server, name)
        self.assertEqual(over["status"], "cancelled")
        self.assertLess(over["request_counts"]["completed"], 1000)

    def test_a_killed_server_goes_on_where_it_stopped(self):
        lines = chats(12, max_tokens=40, ignore_eos=True, temperature=1.0)  # no seeds: the batch gives them
        with self.started("killed") as server:
            name = begin(server, lines)
            wait_until(lambda: batch(server, name)["request_counts"]["completed"] >= 2, "some lines")
        with self.started("killed") as server:
            kept = batch(server, name)["request_counts"]["completed"]
            done = finished(server, name)
            output = lines_of(server, done["output_file_id"])
            self.assertGreaterEqual(kept, 2)
            self.assertEqual(done["request_counts"], {"total": 12, "completed": 12, "failed": 0})
            self.assertEqual([line["custom_id"] for line in output], [line["custom_id"] for line in lines])
            # Nobody computed anything twice, and each line is what its seed gives.
            metrics = server.get("/metrics").body.decode()
            computed = sum(float(row.split()[-1]) for row in metrics.splitlines()
                           if row.startswith("vllm:request_success_total{"))
            self.assertEqual(computed, 12 - kept)
            for line, asked in zip(output, lines):
                alone = server.post(CHAT, {**asked["body"], "seed": line["seed"]})
                self.assertEqual(alone.text, texts([line])[line["custom_id"]])
            self.assertEqual(len({line["seed"] for line in output}), 12)

    def test_others_find_places(self):
        with Server(self.model, "--ctx", "1024", "--store", "none", "--max-requests", "6") as server:
            name = begin(server, chats(30, max_tokens=60, ignore_eos=True))
            wait_until(lambda: batch(server, name)["status"] == "in_progress", "the batch")
            for _ in range(4):
                self.assertEqual(server.chat("Hi", max_tokens=2, n=3).status, 200)
            self.assertEqual(finished(server, name)["request_counts"]["completed"], 30)
            # What never finds them is not told to wait.
            refused = server.chat("Hi", n=7)
            self.assertEqual((refused.status, refused.error["param"]), (400, "n"))
            done = finished(server, begin(server, chats(1, n=7)))
            self.assertEqual(done["request_counts"], {"total": 1, "completed": 0, "failed": 1})


if __name__ == "__main__":
    _fathom.harness.main()
