#!/usr/bin/env python3
"""The ollama package against `fathom serve`."""
import json
import unittest
import urllib.request

import _clients

_clients.in_their_python()

import ollama  # noqa: E402
import _official  # noqa: E402

QUESTION = [{"role": "user", "content": "What is the capital of France?"}]
TOOLS = [{"type": "function", "function": {"name": "get_weather", "description": "The weather now.",
                                           "parameters": _official.WEATHER}}]


class Ollama(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = _official.Server()
        cls.addClassCleanup(cls.server.close)
        cls.client = ollama.Client(host=cls.server.url)

    def chat(self, messages=QUESTION, tokens=24, options=None, **fields):
        return self.client.chat(model=self.server.name, messages=messages,
                                options={"top_k": 1, "num_predict": tokens, **(options or {})}, **fields)

    def test_chat(self):
        reply = self.chat(keep_alive="5m")
        self.assertIn("Paris", reply.message.content)
        self.assertEqual((reply.done, reply.done_reason, reply.model), (True, "stop", self.server.name))
        self.assertGreater(reply.prompt_eval_count, 10)
        self.assertGreater(reply.eval_count, 2)
        self.assertGreater(reply.eval_duration, 0)
        self.assertGreaterEqual(reply.total_duration, reply.eval_duration + reply.prompt_eval_duration)
        self.assertEqual(self.chat(tokens=2).done_reason, "length")
        self.assertNotIn("France", self.chat(options={"stop": [" France"]}).message.content)

    def test_streaming(self):
        whole = self.chat()
        parts = list(self.chat(stream=True))
        self.assertGreater(len(parts), 2)
        self.assertEqual("".join(part.message.content for part in parts), whole.message.content)
        self.assertEqual([part.done for part in parts], [False] * (len(parts) - 1) + [True])
        self.assertEqual(parts[-1].eval_count, whole.eval_count)

    def test_thinking(self):
        reply = self.chat(think=True, tokens=12)
        self.assertTrue(reply.message.thinking)
        parts = list(self.chat(think=True, tokens=12, stream=True))
        self.assertEqual("".join(part.message.thinking or "" for part in parts), reply.message.thinking)
        self.assertIsNone(self.chat(think=False).message.thinking)
        self.assertTrue(self.chat(think="low", tokens=12).message.thinking)

    def test_tools_in_a_loop(self):
        asked = [{"role": "user", "content": "What is the weather in Paris?"}]
        reply = self.chat(asked, tokens=60, tools=TOOLS)
        (call,) = reply.message.tool_calls
        self.assertEqual((call.function.name, dict(call.function.arguments)), ("get_weather", {"city": "Paris"}))
        streamed = [c for part in self.chat(asked, tokens=60, tools=TOOLS, stream=True)
                    for c in part.message.tool_calls or []]
        self.assertEqual(streamed, [call])
        answer = self.chat(asked + [reply.message, {"role": "tool", "tool_name": "get_weather", "content": "Rain."}])
        self.assertTrue(answer.message.content)

    def test_formats(self):
        schema = {"type": "object", "properties": {"capital": {"enum": ["Paris", "Rome"]}}, "required": ["capital"],
                  "additionalProperties": False}
        self.assertIn(json.loads(self.chat(tokens=60, format=schema).message.content)["capital"], ("Paris", "Rome"))

    def test_generate(self):
        reply = self.client.generate(model=self.server.name + ":latest", prompt="What is the capital of France?",
                                     system="Be short.", options={"top_k": 1, "num_predict": 24})
        self.assertIn("Paris", reply.response)
        parts = list(self.client.generate(model=self.server.name, prompt="The capital of France is", raw=True, stream=True,
                                          logprobs=True, options={"top_k": 1, "num_predict": 4}))
        self.assertIn("Paris", "".join(part.response for part in parts))
        self.assertEqual(sum(len(part.logprobs or []) for part in parts), 4)
        self.assertEqual(self.client.generate(model=self.server.name).done_reason, "load")

    def test_models(self):
        names = [m.model for m in self.client.list().models]
        self.assertEqual(names, [self.server.name, _official.ALIAS, "deepseek-chat", "deepseek-reasoner"])
        model = self.client.list().models[0]
        self.assertEqual(model.size, _clients._fathom.chat_model().stat().st_size)
        self.assertEqual((model.details.family, model.details.parameter_size), ("llama", "135M"))
        self.assertEqual([m.model for m in self.client.ps().models], [self.server.name])
        shown = self.client.show(self.server.name)
        self.assertIn("get_weather", shown.template)
        self.assertEqual(shown.modelinfo["llama.context_length"], 2048)
        self.assertEqual(shown.capabilities, ["completion", "tools", "thinking"])
        with urllib.request.urlopen(self.server.url + "/api/version") as reply:
            self.assertRegex(json.load(reply)["version"], r"^\d+\.\d+\.\d+$")

    def test_errors(self):
        with self.assertRaises(ollama.ResponseError) as caught:
            self.client.chat(model="none", messages=QUESTION)
        self.assertEqual(caught.exception.status_code, 404)
        with self.assertRaises(ollama.ResponseError) as caught:
            self.chat([{"role": "user", "content": "word " * 4000}])
        self.assertEqual(caught.exception.status_code, 400)
        self.assertIn("context", caught.exception.error)
        with self.assertRaisesRegex(ollama.ResponseError, "context"):
            list(self.chat([{"role": "user", "content": "word " * 4000}], stream=True))

    def test_an_abort_frees_the_server(self):
        stream = self.chat(stream=True, tokens=1500, options={"temperature": 2, "top_k": 0})
        next(stream)
        stream.close()
        self.assertIn("Paris", self.chat().message.content)


if __name__ == "__main__":
    _clients.main()
