#!/usr/bin/env python3
"""LangChain's OpenAI and DeepSeek integrations against the server."""
import unittest

import _clients

_clients.in_their_python()

import openai  # noqa: E402
import pydantic  # noqa: E402
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage  # noqa: E402
from langchain_core.tools import tool  # noqa: E402
from langchain_deepseek import ChatDeepSeek  # noqa: E402
from langchain_openai import ChatOpenAI, OpenAI  # noqa: E402


class Mood(pydantic.BaseModel):
    """How somebody feels."""
    happy: bool


@tool
def add(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


class LangChain(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = _clients.start()
        cls.addClassCleanup(cls.server.close)
        url = f"{cls.server.url}/v1"
        common = {"api_key": "none", "max_retries": 0, "max_tokens": 12}
        cls.openai = ChatOpenAI(model="deepseek-chat", base_url=url, seed=4, use_responses_api=False, **common)
        cls.deepseek = ChatDeepSeek(model="deepseek-chat", api_base=url, temperature=0, **common)
        cls.reasoner = ChatDeepSeek(model="deepseek-reasoner", api_base=url, temperature=0, **{**common, "max_tokens": 30},
                                    extra_body={"thinking_budget": 5})
        cls.text = OpenAI(model="deepseek-chat", base_url=url, seed=4, **common)

    def test_a_stream_is_the_whole_answer(self):
        for chat in (self.openai, self.deepseek):
            with self.subTest(type(chat).__name__):
                whole = chat.invoke("Tell me about rain.")
                self.assertEqual(whole.usage_metadata["output_tokens"], 12)
                self.assertEqual("".join(chunk.text for chunk in chat.stream("Tell me about rain.")), whole.text)

    def test_thinking(self):
        whole = self.reasoner.invoke("Tell me about rain.")
        self.assertTrue(whole.additional_kwargs["reasoning_content"])
        self.assertTrue(whole.text)
        thoughts = "".join(chunk.additional_kwargs.get("reasoning_content", "")
                           for chunk in self.reasoner.stream("Tell me about rain."))
        self.assertEqual(thoughts, whole.additional_kwargs["reasoning_content"])

    def test_a_schema(self):
        chat = ChatOpenAI(model="deepseek-chat", base_url=f"{self.server.url}/v1", api_key="none", max_tokens=100, seed=4,
                          use_responses_api=False)
        self.assertIsInstance(chat.with_structured_output(Mood, method="json_schema").invoke("Are you happy?"), Mood)

    def test_tools_in_the_history(self):
        messages = [HumanMessage("2 + 3?"), AIMessage("", tool_calls=[{"id": "c1", "name": "add", "args": {"a": 2, "b": 3}}]),
                    ToolMessage("5", tool_call_id="c1")]
        for chat in (self.openai, self.deepseek):
            with self.subTest(type(chat).__name__):
                self.assertIsInstance(chat.bind_tools([add]).invoke(messages), AIMessage)

    def test_text(self):
        self.assertEqual("".join(self.text.stream("One, two, three,")), self.text.invoke("One, two, three,"))

    def test_errors(self):
        with self.assertRaises(openai.BadRequestError):
            self.openai.invoke("word " * 3000)


if __name__ == "__main__":
    _clients.main()
