#!/usr/bin/env python3
"""The anthropic and ollama packages from PyPI; skipped until the server has their paths."""
import unittest

import _clients

_clients.in_their_python()

import anthropic  # noqa: E402
import ollama  # noqa: E402

USER = [{"role": "user", "content": "Tell me about rain."}]


class Native(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = _clients.start()
        cls.addClassCleanup(cls.server.close)

    def has(self, path):
        if self.server.post(path, model="deepseek-chat", messages=USER, max_tokens=1, stream=False).status == 404:
            self.skipTest(f"the server has no {path}")

    def test_anthropic(self):
        self.has("/v1/messages")
        client = anthropic.Anthropic(base_url=self.server.url, api_key="none", max_retries=0)
        asked = {"model": "deepseek-chat", "messages": USER, "max_tokens": 12, "extra_body": {"temperature": 0}}
        whole = client.messages.create(**asked)
        self.assertEqual((whole.type, whole.role, whole.usage.output_tokens), ("message", "assistant", 12))
        with client.messages.stream(**asked) as stream:
            text = "".join(stream.text_stream)
        self.assertEqual(text, "".join(block.text for block in whole.content if block.type == "text"))
        with self.assertRaises(anthropic.NotFoundError):
            client.messages.create(**{**asked, "model": "gpt-9"})

    def test_ollama(self):
        self.has("/api/chat")
        client = ollama.Client(host=self.server.url)
        asked = {"model": "deepseek-chat", "messages": USER, "options": {"num_predict": 12, "temperature": 0}}
        whole = client.chat(**asked)
        self.assertEqual((whole.done, whole.eval_count), (True, 12))
        self.assertEqual("".join(part.message.content for part in client.chat(**asked, stream=True)), whole.message.content)
        self.assertTrue(client.list().models)
        with self.assertRaises(ollama.ResponseError):
            client.chat(**{**asked, "model": "gpt-9"})


if __name__ == "__main__":
    _clients.main()
