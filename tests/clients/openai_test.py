#!/usr/bin/env python3
"""The openai package from PyPI against the server."""
import concurrent.futures
import json
import unittest

import _clients

_clients.in_their_python()

import openai  # noqa: E402
import pydantic  # noqa: E402
from _server import wait_until  # noqa: E402

USER = [{"role": "user", "content": "Tell me about rain."}]
PLAIN = {"model": "deepseek-chat", "messages": USER, "seed": 4, "max_tokens": 12}
ASKED = {"model": "deepseek-chat", "input": USER[0]["content"], "max_output_tokens": 12, "extra_body": {"seed": 4}}
ADD = {"type": "function", "function": {"name": "add", "description": "Adds two numbers.", "parameters": {
    "type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}, "required": ["a", "b"]}}}


class Person(pydantic.BaseModel):
    age: int
    happy: bool


class OpenAi(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = _clients.start("--max-requests", "8")
        cls.addClassCleanup(cls.server.close)
        cls.client = openai.OpenAI(base_url=f"{cls.server.url}/v1", api_key="none", max_retries=0)
        cls.addClassCleanup(cls.client.close)
        cls.chat, cls.responses = cls.client.chat.completions, cls.client.responses

    def test_models(self):
        names = [model.id for model in self.client.models.list()]
        self.assertIn("deepseek-reasoner", names)
        self.assertEqual(self.client.models.retrieve("deepseek-chat").owned_by, "fathom")

    def test_a_stream_is_the_whole_answer(self):
        whole = self.chat.create(**PLAIN)
        self.assertEqual((whole.choices[0].finish_reason, whole.choices[0].message.role), ("length", "assistant"))
        self.assertEqual(whole.usage.completion_tokens, 12)
        self.assertEqual(whole.usage.completion_tokens_details.reasoning_tokens, 0)
        with self.chat.create(**PLAIN, stream=True, stream_options={"include_usage": True}) as stream:
            chunks = list(stream)
        self.assertEqual("".join(c.choices[0].delta.content or "" for c in chunks if c.choices),
                         whole.choices[0].message.content)
        self.assertEqual(chunks[-1].usage.completion_tokens, 12)
        self.assertEqual(self.chat.create(**PLAIN).choices[0].message.content, whole.choices[0].message.content)

    def test_the_stream_helper(self):
        asked = {**PLAIN, "max_tokens": 100}  # the helper takes an answer that was cut off for an error
        with self.chat.stream(**asked) as stream:
            kinds = {event.type for event in stream}
            final = stream.get_final_completion()
        self.assertIn("content.delta", kinds)
        self.assertEqual(final.choices[0].message.content, self.chat.create(**asked).choices[0].message.content)

    def test_choices_logprobs_and_stop(self):
        many = self.chat.create(**{**PLAIN, "temperature": 1.0}, n=3, logprobs=True, top_logprobs=2)
        self.assertEqual([choice.index for choice in many.choices], [0, 1, 2])
        self.assertGreater(len({choice.message.content for choice in many.choices}), 1)
        for choice in many.choices:
            # White space at the answer's beginning is not shown.
            self.assertEqual(b"".join(bytes(token.bytes) for token in choice.logprobs.content).decode().lstrip(),
                             choice.message.content)
            self.assertTrue(all(token.logprob <= 0 and len(token.top_logprobs) == 2 for token in choice.logprobs.content))
        text = self.chat.create(**PLAIN).choices[0].message.content
        word = text.split()[3]
        stopped = self.chat.create(**PLAIN, stop=[word]).choices[0]
        self.assertEqual((stopped.finish_reason, stopped.message.content), ("stop", text[:text.index(word)]))

    def test_json(self):
        asked = {**PLAIN, "max_tokens": 200}
        schema = {"type": "object", "properties": {"age": {"type": "integer", "minimum": 1, "maximum": 9}},
                  "required": ["age"], "additionalProperties": False}
        bound = self.chat.create(**asked, response_format={"type": "json_schema", "json_schema": {
            "name": "age", "strict": True, "schema": schema}})
        self.assertIn(json.loads(bound.choices[0].message.content), [{"age": age} for age in range(1, 10)])
        parsed = self.chat.parse(**asked, response_format=Person).choices[0].message.parsed
        self.assertIsInstance(parsed, Person)
        # Any JSON may be long: it must parse if it was not cut off, and begin as an object in any case.
        free = self.chat.create(**asked, response_format={"type": "json_object"}).choices[0]
        self.assertTrue(free.message.content.lstrip().startswith("{"))
        if free.finish_reason == "stop":
            json.loads(free.message.content)

    def test_thinking(self):
        asked = {**PLAIN, "model": "deepseek-reasoner", "max_tokens": 40}
        budget = {"thinking": {"type": "enabled", "budget_tokens": 6}}
        whole = self.chat.create(**asked, extra_body=budget)
        message = whole.choices[0].message
        self.assertTrue(message.reasoning_content)
        self.assertTrue(message.content)
        self.assertLessEqual(whole.usage.completion_tokens_details.reasoning_tokens, 6)
        thoughts = text = ""
        for chunk in self.chat.create(**asked, extra_body=budget, stream=True):
            delta = chunk.choices[0].delta
            self.assertFalse(text and getattr(delta, "reasoning_content", None), "thoughts come first")
            thoughts += getattr(delta, "reasoning_content", None) or ""
            text += delta.content or ""
        self.assertEqual((thoughts, text), (message.reasoning_content, message.content))
        off = self.chat.create(**asked, reasoning_effort="none").choices[0].message
        self.assertIsNone(getattr(off, "reasoning_content", None))
        # A schema binds what follows the thinking.
        bound = self.chat.parse(**{**asked, "max_tokens": 200}, response_format=Person, extra_body=budget).choices[0].message
        self.assertTrue(bound.reasoning_content)
        self.assertIsInstance(bound.parsed, Person)

    def test_tools_in_the_history(self):
        call = {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": '{"a": 2, "b": 3}'}}
        messages = [{"role": "user", "content": "2 + 3?"}, {"role": "assistant", "content": None, "tool_calls": [call]},
                    {"role": "tool", "tool_call_id": "call_1", "content": "5"}]
        answer = self.chat.create(**{**PLAIN, "messages": messages}, tools=[ADD]).choices[0]
        self.assertIn(answer.finish_reason, ("stop", "length", "tool_calls"))
        with self.assertRaises(openai.BadRequestError) as refused:
            self.chat.create(**PLAIN, tools=[ADD], tool_choice={"type": "function", "function": {"name": "divide"}})
        self.assertEqual(refused.exception.param, "tool_choice")

    def test_completions_and_a_gap(self):
        done = self.client.completions.create(model="deepseek-chat", prompt="One, two, three,", max_tokens=4, echo=True, seed=1)
        self.assertTrue(done.choices[0].text.startswith("One, two, three,"))
        with self.assertRaises(openai.BadRequestError) as refused:
            self.client.completions.create(model="deepseek-chat", prompt="def f(", suffix=")", max_tokens=4)
        self.assertEqual(refused.exception.param, "suffix")

    def test_embeddings(self):
        if self.server.post("/v1/embeddings", input="a").status == 404:
            self.skipTest("the server has no /v1/embeddings")
        one, two = self.client.embeddings.create(model="deepseek-chat", input=["rain", "snow"]).data
        self.assertEqual(len(one.embedding), len(two.embedding))
        self.assertNotEqual(one.embedding, two.embedding)

    def test_errors_are_the_packages_own(self):
        with self.assertRaises(openai.BadRequestError) as refused:
            self.chat.create(**PLAIN, temperature=1000)
        self.assertEqual((refused.exception.param, refused.exception.type), ("temperature", "invalid_request_error"))
        with self.assertRaises(openai.NotFoundError) as unknown:
            self.chat.create(**{**PLAIN, "model": "gpt-9"})
        self.assertEqual(unknown.exception.code, "model_not_found")
        with self.assertRaises(openai.BadRequestError) as long:
            self.chat.create(**{**PLAIN, "messages": [{"role": "user", "content": "word " * 3000}]}, stream=True)
        self.assertEqual(long.exception.code, "context_length_exceeded")
        with self.assertRaises(openai.BadRequestError) as many:
            self.chat.create(**PLAIN, n=9)
        self.assertEqual(many.exception.param, "n")

    def test_an_abort_frees_the_places(self):
        with self.chat.create(**{**PLAIN, "max_tokens": 1900}, n=8, stream=True, extra_body={"ignore_eos": True}) as stream:
            next(iter(stream))
            with self.assertRaises(openai.RateLimitError) as busy:
                self.chat.create(**PLAIN)
            self.assertEqual(busy.exception.response.headers["retry-after"], "1")

        def free():
            try:
                return len(self.chat.create(**{**PLAIN, "max_tokens": 1}, n=8).choices) == 8
            except openai.RateLimitError:
                return False
        wait_until(free, "the eight places of a client that is gone")

    def test_clients_together_get_what_each_gets_alone(self):
        asked = [{**PLAIN, "seed": seed, "messages": [{"role": "user", "content": f"Write about {word}."}]}
                 for seed, word in enumerate(("rain", "snow", "wind", "fire"))]
        text = lambda fields: self.chat.create(**fields).choices[0].message.content
        alone = [text(fields) for fields in asked]
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            self.assertEqual(list(pool.map(text, asked)), alone)

    def test_responses(self):
        made = self.responses.create(**ASKED)
        self.assertEqual((made.status, made.incomplete_details.reason), ("incomplete", "max_output_tokens"))
        self.assertEqual(made.output_text, self.chat.create(**PLAIN).choices[0].message.content)
        self.assertEqual(made.usage.output_tokens, 12)
        again = self.responses.retrieve(made.id)
        self.assertEqual(again.to_dict(), made.to_dict())
        by_id = self.responses.create(**{**ASKED, "input": "Why?"}, previous_response_id=made.id)
        by_hand = self.responses.create(**{**ASKED, "store": False, "input": [
            *USER, *(item.to_dict() for item in made.output), {"role": "user", "content": "Why?"}]})
        self.assertEqual(by_id.output_text, by_hand.output_text)
        self.assertEqual(self.responses.input_items.list(by_id.id).data[0].content[0].text, "Why?")
        self.responses.delete(made.id)
        with self.assertRaises(openai.NotFoundError):
            self.responses.retrieve(made.id)
        with self.assertRaises(openai.BadRequestError) as lost:
            self.responses.create(**ASKED, previous_response_id=made.id)
        self.assertEqual(lost.exception.code, "previous_response_not_found")
        with self.assertRaises(openai.BadRequestError) as refused:
            self.responses.create(**ASKED, temperature=1000)
        self.assertEqual(refused.exception.param, "temperature")

    def test_responses_stream(self):
        asked = {**ASKED, "model": "deepseek-reasoner", "max_output_tokens": 40,
                 "extra_body": {"seed": 4, "thinking": {"type": "enabled", "budget_tokens": 6}}}
        whole = self.responses.create(**asked)
        self.assertEqual([item.type for item in whole.output], ["reasoning", "message"])
        thoughts = text = ""
        for event in self.responses.create(**asked, stream=True):
            if event.type == "response.reasoning_text.delta":
                thoughts += event.delta
            elif event.type == "response.output_text.delta":
                text += event.delta
        self.assertEqual((thoughts, text), (whole.output[0].content[0].text, whole.output_text))
        self.assertEqual(event.response.output_text, whole.output_text)
        long = {**ASKED, "max_output_tokens": 100}  # the helper takes an answer that was cut off for an error
        with self.responses.stream(**long) as stream:
            kinds = {event.type for event in stream}
            final = stream.get_final_response()
        self.assertIn("response.output_text.delta", kinds)
        self.assertEqual(final.output_text, self.responses.create(**long).output_text)

    def test_responses_tools_in_a_loop(self):
        tool = {"type": "function", "strict": True, **ADD["function"]}
        asked = {**ASKED, "input": "What is 2 + 3?", "max_output_tokens": 200, "tools": [tool]}
        made = self.responses.create(**asked, tool_choice="required")
        call = made.output[-1]
        self.assertEqual((call.type, call.name), ("function_call", "add"))
        self.assertEqual(set(json.loads(call.arguments)), {"a", "b"})
        result = {"type": "function_call_output", "call_id": call.call_id, "output": "5"}
        after = self.responses.create(**{**asked, "input": [result], "tools": []}, previous_response_id=made.id)
        self.assertTrue(after.output_text)

    def test_responses_parse(self):
        parsed = self.responses.parse(**{**ASKED, "max_output_tokens": 200}, text_format=Person)
        self.assertIsInstance(parsed.output_parsed, Person)

    def test_responses_in_the_background(self):
        made = self.responses.create(**ASKED, background=True)
        self.assertEqual(made.status, "in_progress")
        wait_until(lambda: self.responses.retrieve(made.id).status != "in_progress", "the answer in the background")
        self.assertEqual(self.responses.retrieve(made.id).output_text, self.responses.create(**ASKED).output_text)

    def test_files_and_batches(self):
        lines = "".join(json.dumps({"custom_id": f"{i}", "method": "POST", "url": "/v1/chat/completions",
                                    "body": {**PLAIN, "seed": i}}) + "\n" for i in range(3))
        file = self.client.files.create(file=("requests.jsonl", lines.encode()), purpose="batch")
        self.assertEqual(self.client.files.content(file.id).text, lines)
        self.assertIn(file.id, [one.id for one in self.client.files.list(purpose="batch")])
        batch = self.client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h",
                                           metadata={"for": "a test"})
        wait_until(lambda: self.client.batches.retrieve(batch.id).status == "completed", "the batch")
        done = self.client.batches.retrieve(batch.id)
        self.assertEqual((done.request_counts.completed, done.metadata), (3, {"for": "a test"}))
        for line in self.client.files.content(done.output_file_id).text.splitlines():
            line = json.loads(line)
            alone = self.chat.create(**{**PLAIN, "seed": int(line["custom_id"])}).choices[0].message.content
            self.assertEqual(line["response"]["body"]["choices"][0]["message"]["content"], alone)
        self.assertTrue(self.client.files.delete(file.id).deleted)
        self.assertIn(batch.id, [one.id for one in self.client.batches.list()])


if __name__ == "__main__":
    _clients.main()
