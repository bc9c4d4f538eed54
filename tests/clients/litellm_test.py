#!/usr/bin/env python3
"""litellm against the server, as it asks OpenAI, DeepSeek and vLLM."""
import os
import unittest

import _clients

_clients.in_their_python()

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # it would fetch prices
import litellm  # noqa: E402

USER = [{"role": "user", "content": "Tell me about rain."}]


class LiteLlm(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = _clients.start()
        cls.addClassCleanup(cls.server.close)

    def ask(self, provider, model="deepseek-chat", **fields):
        return litellm.completion(model=f"{provider}/{model}", api_base=f"{self.server.url}/v1", api_key="none", num_retries=0,
                                  messages=USER, temperature=0, **{"max_tokens": 12, **fields})

    def test_a_stream_is_the_whole_answer(self):
        for provider in ("openai", "deepseek", "hosted_vllm"):
            with self.subTest(provider):
                whole = self.ask(provider)
                self.assertEqual(whole.usage.completion_tokens, 12)
                text = "".join(chunk.choices[0].delta.content or "" for chunk in self.ask(provider, stream=True))
                self.assertEqual(text, whole.choices[0].message.content)

    def test_thinking(self):
        message = self.ask("deepseek", "deepseek-reasoner", max_tokens=30).choices[0].message
        self.assertTrue(message.reasoning_content)

    def test_errors(self):
        with self.assertRaises(litellm.NotFoundError):
            self.ask("openai", "gpt-9")
        with self.assertRaises(litellm.BadRequestError):
            self.ask("openai", n=1000)


if __name__ == "__main__":
    _clients.main()
