#!/usr/bin/env python3
"""The anthropic package against `fathom serve`."""
import unittest

import _clients

_clients.in_their_python()

import anthropic  # noqa: E402
import _official  # noqa: E402

QUESTION = [{"role": "user", "content": "What is the capital of France?"}]
TOOLS = [{"name": "get_weather", "description": "The weather now.", "input_schema": _official.WEATHER}]


class Anthropic(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = _official.Server()
        cls.addClassCleanup(cls.server.close)
        cls.client = anthropic.Anthropic(base_url=cls.server.url, api_key="none", max_retries=0)

    def ask(self, messages=QUESTION, model=_official.ALIAS, max_tokens=24, **fields):
        return self.client.messages.create(model=model, max_tokens=max_tokens, messages=messages,
                                           extra_body={"top_k": 1}, **fields)

    def test_chat(self):
        reply = self.ask(system=[{"type": "text", "text": "Be short.", "cache_control": {"type": "ephemeral"}}])
        self.assertEqual((reply.type, reply.role, reply.model), ("message", "assistant", _official.ALIAS))
        self.assertEqual([block.type for block in reply.content], ["text"])
        self.assertIn("Paris", reply.content[0].text)
        self.assertEqual(reply.stop_reason, "end_turn")
        self.assertGreater(reply.usage.input_tokens + reply.usage.cache_read_input_tokens, 10)
        self.assertGreater(reply.usage.output_tokens, 2)
        self.assertTrue(reply._request_id)

    def test_the_prefix_of_the_anthropic_path(self):
        other = anthropic.Anthropic(base_url=self.server.url + "/anthropic", api_key="none", max_retries=0)
        self.assertEqual([m.id for m in other.models.list()], [self.server.name, _official.ALIAS, "deepseek-chat",
                                                               "deepseek-reasoner"])
        self.assertEqual(other.models.retrieve(_official.ALIAS).type, "model")
        reply = other.messages.create(model=self.server.name, max_tokens=4, messages=QUESTION)
        self.assertEqual(reply.stop_reason, "max_tokens")
        self.assertEqual([m.id for m in self.client.models.list()], [m.id for m in other.models.list()])

    def test_count_tokens(self):
        counted = self.client.messages.count_tokens(model=_official.ALIAS, messages=QUESTION, tools=TOOLS).input_tokens
        usage = self.ask(tools=TOOLS, max_tokens=1).usage
        self.assertEqual(counted, usage.input_tokens + usage.cache_read_input_tokens)
        again = self.ask(tools=TOOLS, max_tokens=1).usage
        self.assertGreater(again.cache_read_input_tokens, 0)
        self.assertEqual(counted, again.input_tokens + again.cache_read_input_tokens)

    def test_streaming(self):
        whole = self.ask()
        with self.client.messages.stream(model=_official.ALIAS, max_tokens=24, messages=QUESTION,
                                         extra_body={"top_k": 1}) as stream:
            text = "".join(stream.text_stream)
            final = stream.get_final_message()
        self.assertEqual(text, whole.content[0].text)
        self.assertEqual(final.content[0].text, text)
        self.assertEqual((final.stop_reason, final.usage.output_tokens), ("end_turn", whole.usage.output_tokens))

    def test_stop_sequences_and_a_begun_answer(self):
        reply = self.ask(stop_sequences=["never", " France"])
        self.assertEqual((reply.stop_reason, reply.stop_sequence), ("stop_sequence", " France"))
        self.assertNotIn("France", reply.content[0].text)
        begun = self.ask(QUESTION + [{"role": "assistant", "content": "The capital of France is the city of"}])
        self.assertTrue(begun.content[0].text.startswith(" Paris"), begun.content[0].text)

    def test_thinking_and_its_signature(self):
        thinking = {"type": "enabled", "budget_tokens": 4}
        reply = self.ask(thinking=thinking)
        self.assertEqual([block.type for block in reply.content], ["thinking", "text"])
        self.assertTrue(reply.content[0].thinking and reply.content[0].signature)
        with self.client.messages.stream(model=_official.ALIAS, max_tokens=24, messages=QUESTION, thinking=thinking,
                                         extra_body={"top_k": 1}) as stream:
            kinds = [event.type for event in stream]
            final = stream.get_final_message()
        self.assertEqual([block.to_dict() for block in reply.content],
                         [{k: v for k, v in block.to_dict().items() if k != "parsed_output"} for block in final.content])
        for kind in ("thinking", "signature", "text", "content_block_stop", "message_stop"):
            self.assertIn(kind, kinds)
        self.assertEqual([b.type for b in self.ask(thinking={"type": "disabled"}).content], ["text"])

    def test_tools_in_a_loop(self):
        asked = [{"role": "user", "content": "What is the weather in Paris?"}]
        fields = {"tools": TOOLS, "tool_choice": {"type": "any"}, "max_tokens": 60}
        reply = self.ask(asked, **fields)
        self.assertEqual(reply.stop_reason, "tool_use")
        (call,) = [block for block in reply.content if block.type == "tool_use"]
        self.assertEqual((call.name, call.input), ("get_weather", {"city": "Paris"}))
        with self.client.messages.stream(model=_official.ALIAS, messages=asked, extra_body={"top_k": 1},
                                         **fields) as stream:
            streamed = stream.get_final_message()
        self.assertEqual([(b.name, b.input) for b in streamed.content if b.type == "tool_use"], [(call.name, call.input)])
        result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "Rain."}]}
        answer = self.ask(asked + [{"role": "assistant", "content": reply.content}, result], tools=TOOLS,
                          tool_choice={"type": "none"})
        self.assertIn(answer.stop_reason, ("end_turn", "max_tokens"))
        with self.assertRaises(anthropic.BadRequestError):
            self.ask(asked + [{"role": "assistant", "content": reply.content}])

    def test_thinking_comes_back_unaltered_or_not_at_all(self):
        def turn(thinking, signature):
            blocks = [{"type": "thinking", "thinking": thinking, "signature": signature},
                      {"type": "tool_use", "id": "t1", "name": "get_weather", "input": {"city": "Rome"}}]
            return QUESTION + [{"role": "assistant", "content": blocks}, {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "t1", "content": "Rain."}]}]
        block = self.ask(thinking={"type": "enabled", "budget_tokens": 4}).content[0]
        self.ask(turn(block.thinking, block.signature), tools=TOOLS, max_tokens=1)
        with self.assertRaisesRegex(anthropic.BadRequestError, "signature"):
            self.ask(turn(block.thinking + "!", block.signature), tools=TOOLS, max_tokens=1)

    def test_a_schema(self):
        reply = self.ask(max_tokens=60, output_config={"format": {"type": "json_schema", "schema": {
            "type": "object", "properties": {"capital": {"enum": ["Paris", "Rome"]}}, "required": ["capital"],
            "additionalProperties": False}}})
        self.assertRegex(reply.content[0].text, r'^\s*\{\s*"capital"\s*:\s*"(Paris|Rome)"\s*\}\s*$')

    def test_errors(self):
        with self.assertRaises(anthropic.NotFoundError) as caught:
            self.ask(model="claude-none")
        self.assertEqual(caught.exception.body["error"]["type"], "not_found_error")
        self.assertEqual(caught.exception.body["request_id"], caught.exception.request_id)
        with self.assertRaises(anthropic.BadRequestError) as caught:
            self.ask(messages=[])
        self.assertEqual(caught.exception.body["error"]["type"], "invalid_request_error")
        with self.assertRaisesRegex(anthropic.BadRequestError, "context"):
            self.ask(messages=[{"role": "user", "content": "word " * 4000}])

    def test_an_abort_frees_the_server(self):
        with self.client.messages.stream(model=_official.ALIAS, max_tokens=1500, messages=QUESTION,
                                         extra_body={"temperature": 2}) as stream:
            next(iter(stream.text_stream))
        self.assertIn("Paris", self.ask().content[0].text)


if __name__ == "__main__":
    _clients.main()
