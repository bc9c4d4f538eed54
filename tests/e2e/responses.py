#!/usr/bin/env python3
"""/v1/responses: conversations that the server keeps, over restarts; events; tools; answers in the background."""
import json

import _fathom
from _server import Server, ServerTest, wait_until

PATH = "/v1/responses"
ASKED = {"model": "deepseek-chat", "input": "Tell me about rain.", "seed": 4, "max_output_tokens": 24}
ADD = {"type": "function", "name": "add", "description": "Adds two numbers.", "parameters": {
    "type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}, "required": ["a", "b"]}}


def events(body):
    """(name, data) of each event."""
    out = []
    for block in body.decode().split("\n\n"):
        if block.startswith("event: "):
            name, data = block.split("\n", 1)
            out.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return out


def text_of(response):
    return "".join(part["text"] for item in response["output"] if item["type"] == "message" for part in item["content"])


def without_ids(value):
    """What two answers to the same request have in common."""
    if isinstance(value, dict):
        return {k: without_ids(v) for k, v in value.items()
                if k not in ("id", "item_id", "call_id", "created_at", "completed_at", "usage")}
    return [without_ids(v) for v in value] if isinstance(value, list) else value


class Responses(ServerTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.store = cls.folder / "kept" / "store.sqlite"
        cls.server = cls.started("--store", cls.store)
        cls.addClassCleanup(lambda: cls.server.close())

    @classmethod
    def started(cls, *arguments):
        return Server(cls.model, "--ctx", "2048", "--template", _fathom.ROOT / "tests/clients/thinking.jinja", *arguments)

    def ask(self, path=PATH, status=200, **fields):
        reply = self.server.post(path, **{**ASKED, **fields})
        self.assertEqual(reply.status, status, reply.body)
        return reply.json()

    def get(self, path, status=200):
        reply = self.server.get(path)
        self.assertEqual(reply.status, status, reply.body)
        return reply.json()

    def test_a_chat_gives_the_same_text(self):
        chat = self.server.post("/v1/chat/completions", model="deepseek-chat", seed=4, max_tokens=24, messages=[
            {"role": "system", "content": "Be brief."}, {"role": "user", "content": "Tell me about rain."}])
        made = self.ask(instructions="Be brief.")
        self.assertEqual(text_of(made), chat.text)
        self.assertEqual((made["status"], made["incomplete_details"]), ("incomplete", {"reason": "max_output_tokens"}))
        self.assertEqual(made["usage"]["output_tokens"], 24)
        self.assertEqual((made["instructions"], made["store"], made["previous_response_id"]), ("Be brief.", True, None))

    def test_a_conversation_outlives_the_server(self):
        first = self.ask()
        second = self.ask(input="Why?", previous_response_id=first["id"])
        # The same as all of its items, given by hand and not kept.
        items = [{"role": "user", "content": ASKED["input"]}, *first["output"], {"role": "user", "content": "Why?"}]
        by_hand = self.ask(input=items, store=False)
        self.assertEqual(text_of(by_hand), text_of(second))
        self.assertNotEqual(text_of(self.ask(input="Why?")), text_of(second))
        self.get(f"{PATH}/{by_hand['id']}", status=404)

        type(self).server.close()  # killed
        type(self).server = self.started("--store", self.store)
        self.assertEqual(self.get(f"{PATH}/{second['id']}"), second)
        again = self.ask(input="Why?", previous_response_id=first["id"])
        self.assertEqual(without_ids(again["output"]), without_ids(second["output"]))
        referred = self.ask(input=[{"role": "user", "content": ASKED["input"]},
                                   {"type": "item_reference", "id": first["output"][0]["id"]},
                                   {"role": "user", "content": "Why?"}])
        self.assertEqual(text_of(referred), text_of(second))

        self.assertEqual(self.server.request("DELETE", f"{PATH}/{first['id']}").status, 200)
        self.get(f"{PATH}/{first['id']}", status=404)
        lost = self.ask(input="And?", previous_response_id=second["id"], status=400)
        self.assertEqual((lost["error"]["param"], lost["error"]["code"]),
                         ("previous_response_id", "previous_response_not_found"))

    def test_input_items(self):
        made = self.ask(input=[{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"},
                               {"role": "user", "content": "c"}], max_output_tokens=1)
        page = self.get(f"{PATH}/{made['id']}/input_items?limit=2")
        self.assertEqual([item["content"] for item in page["data"]], ["c", "b"])
        self.assertTrue(page["has_more"])
        rest = self.get(f"{PATH}/{made['id']}/input_items?after={page['last_id']}")
        self.assertEqual(([item["content"] for item in rest["data"]], rest["has_more"]), (["a"], False))

    def test_events(self):
        fields = {"model": "deepseek-reasoner", "thinking": {"type": "enabled", "budget_tokens": 6}}
        whole = self.ask(**fields)
        self.assertEqual([item["type"] for item in whole["output"]], ["reasoning", "message"])
        told = events(self.server.post(PATH, **{**ASKED, **fields, "stream": True}).body)
        self.assertEqual([data["sequence_number"] for _, data in told], list(range(len(told))))
        self.assertTrue(all(name == data["type"] for name, data in told))
        names = [name.removeprefix("response.") for name, _ in told]
        order = [name for i, name in enumerate(names) if i == 0 or name != names[i - 1]]
        part = lambda kind: ["output_item.added", "content_part.added", f"{kind}.delta", f"{kind}.done",
                             "content_part.done", "output_item.done"]
        self.assertEqual(order, ["created", "in_progress", *part("reasoning_text"), *part("output_text"), "incomplete"])
        last = told[-1][1]["response"]
        self.assertEqual(without_ids(last), without_ids(whole))
        self.assertEqual(self.get(f"{PATH}/{last['id']}"), last)
        deltas = "".join(data["delta"] for name, data in told if name == "response.output_text.delta")
        self.assertEqual(deltas, text_of(last))
        for name, data in told:
            if name == "response.output_item.done":
                self.assertEqual(data["item"], last["output"][data["output_index"]])

    def test_logprobs(self):
        made = self.ask(include=["message.output_text.logprobs"], top_logprobs=2)
        logprobs = made["output"][0]["content"][0]["logprobs"]
        self.assertEqual(b"".join(bytes(l["bytes"]) for l in logprobs).decode().strip(), text_of(made).strip())
        self.assertEqual({len(l["top_logprobs"]) for l in logprobs}, {2})

    def test_references_have_a_bound(self):
        made = self.ask(include=["message.output_text.logprobs"], top_logprobs=20, ignore_eos=True, max_output_tokens=200)
        reference = {"type": "item_reference", "id": made["output"][0]["id"]}
        self.ask(input=[reference, {"role": "user", "content": "Why?"}])
        refused = self.ask(input=[reference] * 500, status=400)
        self.assertIn("references", refused["error"]["message"])

    def test_tools_in_a_loop(self):
        asked = {"input": "What is 2 + 3?", "tools": [ADD], "tool_choice": "required", "max_output_tokens": 200}
        made = self.ask(**asked)
        call = made["output"][-1]
        self.assertEqual((call["type"], call["name"], call["status"]), ("function_call", "add", "completed"))
        self.assertEqual(set(json.loads(call["arguments"])), {"a", "b"})
        told = events(self.server.post(PATH, **{**ASKED, **asked, "stream": True}).body)
        arguments = [data for name, data in told if name == "response.function_call_arguments.done"]
        self.assertEqual(arguments[0]["arguments"], call["arguments"])
        result = {"type": "function_call_output", "call_id": call["call_id"], "output": "5"}
        after = self.ask(input=[result], previous_response_id=made["id"], tools=[ADD])
        by_hand = self.ask(input=[{"role": "user", "content": asked["input"]}, call, result], tools=[ADD], store=False)
        self.assertEqual(text_of(after), text_of(by_hand))
        only = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "divide"}]}
        self.assertEqual(self.ask(**{**asked, "tool_choice": only}, status=400)["error"]["param"], "tool_choice")

    def test_a_schema(self):
        schema = {"type": "object", "properties": {"age": {"type": "integer", "minimum": 1, "maximum": 9}},
                  "required": ["age"], "additionalProperties": False}
        made = self.ask(text={"format": {"type": "json_schema", "name": "age", "schema": schema}}, max_output_tokens=200)
        self.assertIn(json.loads(text_of(made)), [{"age": age} for age in range(1, 10)])
        bad = {"format": {"type": "json_schema", "name": "x", "schema": {"type": "nothing"}}}
        self.assertEqual(self.ask(text=bad, status=400)["error"]["param"], "text.format")

    def test_in_the_background(self):
        begun = self.ask(background=True)
        self.assertEqual(begun["status"], "in_progress")
        done = lambda: self.get(f"{PATH}/{begun['id']}")["status"] != "in_progress"
        wait_until(done, "the answer in the background")
        self.assertEqual(text_of(self.get(f"{PATH}/{begun['id']}")), text_of(self.ask()))
        self.get(f"{PATH}/{begun['id']}?stream=true", status=404)  # it was not asked for as a stream
        long = self.ask(background=True, max_output_tokens=1900, ignore_eos=True)
        self.assertEqual(self.server.request("DELETE", f"{PATH}/{long['id']}").status, 409)
        self.assertEqual(self.server.post(f"{PATH}/{long['id']}/cancel", {}).json()["status"], "cancelled")
        wait_until(lambda: self.get(f"{PATH}/{long['id']}")["status"] == "cancelled", "its end")
        self.assertEqual(self.server.post(f"{PATH}/{self.ask()['id']}/cancel", {}).status, 400)

        streamed = events(self.server.post(PATH, **{**ASKED, "background": True, "stream": True}).body)
        later = self.server.get(f"{PATH}/{streamed[0][1]['response']['id']}?stream=true&starting_after=4")
        self.assertEqual(events(later.body), streamed[5:])
        beyond = self.server.get(f"{PATH}/{streamed[0][1]['response']['id']}?stream=true&starting_after={2**64 - 1}")
        self.assertEqual((beyond.status, beyond.body), (200, b""))
        name = streamed[0][1]["response"]["id"]
        self.assertEqual(self.server.request("DELETE", f"{PATH}/{name}").status, 200)
        for path in (f"{PATH}/{name}", f"{PATH}/{name}?stream=true", f"/v1/chat/completions/{name.removeprefix('resp_')}"):
            self.get(path, status=404)

    def test_what_a_killed_server_left(self):
        store = self.store.parent / "left.sqlite"
        with self.started("--store", store) as server:
            left = server.post(PATH, **{**ASKED, "background": True, "max_output_tokens": 1900, "ignore_eos": True}).json()
        with self.started("--store", store) as server:
            found = server.get(f"{PATH}/{left['id']}").json()
        self.assertEqual((found["status"], found["error"]["code"]), ("failed", "server_error"))

    def test_deepseeks_path_has_no_memory(self):
        made = self.ask("/responses")
        self.assertEqual(text_of(made), text_of(self.ask()))
        self.assertFalse(made["store"])
        self.get(f"{PATH}/{made['id']}", status=404)
        refused = self.ask("/responses", previous_response_id=made["id"], status=400)
        self.assertEqual(refused["error"]["param"], "previous_response_id")

    def test_what_is_refused_and_what_is_named(self):
        for fields, param in (({"input": None}, "input"), ({"input": []}, "input"), ({"input": 1}, "input"),
                              ({"input": [{"type": "web_search_call"}]}, "input[0].type"),
                              ({"input": [{"role": "user"}]}, "input[0].content"),
                              ({"input": [{"type": "function_call_output", "output": "5"}]}, "input[0].call_id"),
                              ({"max_output_tokens": 0}, "max_output_tokens"), ({"temperature": 1000}, "temperature"),
                              ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
                              ({"tools": [{"type": "function", "name": ""}]}, "tools[0].name"),
                              ({"conversation": "conv_1"}, "conversation"), ({"metadata": {"a": 1}}, "metadata"),
                              ({"background": True, "store": False}, "background")):
            with self.subTest(param):
                self.assertEqual(self.ask(**fields, status=400)["error"]["param"], param)
        many = self.ask(input="word " * 3000, status=400)["error"]
        self.assertEqual((many["param"], many["code"]), ("input", "context_length_exceeded"))
        reply = self.server.post(PATH, **{**ASKED, "truncation": "auto", "n": 2, "include": ["reasoning.encrypted_content"]})
        self.assertEqual(reply.headers["x-fathom-ignored"], "truncation, include.reasoning.encrypted_content, n")

    def test_hostile_fields_are_refused_or_taken(self):
        before = text_of(self.ask())
        fields = ("input", "max_output_tokens", "top_logprobs", "temperature", "tools", "tool_choice", "text", "reasoning",
                  "include", "metadata", "previous_response_id", "store", "background", "instructions")
        for field in fields:
            for value in (10**30, -1, [], [[]], {"type": None}):
                reply = self.server.post(PATH, **{**ASKED, "max_output_tokens": 1, field: value})
                self.assertLess(reply.status, 500, (field, value, reply.body))
        for item in (5, None, [], {"type": 5}, {"type": "item_reference", "id": "msg_" + "a" * 30},
                     {"type": "reasoning", "summary": [5]}, {"type": "function_call", "call_id": "c"},
                     {"role": "user", "content": [{"type": "input_image"}]}):
            self.assertIn(self.server.post(PATH, input=[item]).status, (400, 404), item)
        many = self.server.post(PATH, **{**ASKED, "input": [{"role": "user", "content": "a"}] * 10**5, "store": False})
        self.assertEqual(many.json()["error"]["code"], "context_length_exceeded")
        self.assertEqual(text_of(self.ask()), before)


if __name__ == "__main__":
    _fathom.harness.main()
