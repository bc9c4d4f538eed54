// The openai package from npm against the server at FATHOM_URL. npm_test.py runs it.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import OpenAI from 'openai';

const client = new OpenAI({ baseURL: `${process.env.FATHOM_URL}/v1`, apiKey: 'none', maxRetries: 0 });
const chat = client.chat.completions;
const plain = {
  model: 'deepseek-chat', seed: 4, max_tokens: 12, messages: [{ role: 'user', content: 'Tell me about rain.' }],
};
const whole = async (fields) => (await chat.create(fields)).choices[0].message;

test('models', async () => {
  const names = [];
  for await (const model of client.models.list()) names.push(model.id);
  assert.ok(names.includes('deepseek-chat'));
});

test('a stream is the whole answer', async () => {
  let text = '', usage;
  for await (const chunk of await chat.create({ ...plain, stream: true, stream_options: { include_usage: true } })) {
    text += chunk.choices[0]?.delta.content ?? '';
    usage = chunk.usage ?? usage;
  }
  assert.equal(text, (await whole(plain)).content);
  assert.equal(usage.completion_tokens, 12);
});

test('a drawn seed can be sent back', async () => {
  const { seed, ...drawn } = plain;
  const { data, response } = await chat.create(drawn).withResponse();
  const again = await whole({ ...plain, seed: Number(response.headers.get('x-fathom-seed')) });
  assert.equal(again.content, data.choices[0].message.content);
});

test('thinking', async () => {
  const asked = { ...plain, model: 'deepseek-reasoner', max_tokens: 40, thinking: { type: 'enabled', budget_tokens: 6 } };
  const message = await whole(asked);
  assert.ok(message.reasoning_content && message.content);
  let thoughts = '', text = '';
  for await (const chunk of await chat.create({ ...asked, stream: true })) {
    thoughts += chunk.choices[0].delta.reasoning_content ?? '';
    text += chunk.choices[0].delta.content ?? '';
  }
  assert.deepEqual([thoughts, text], [message.reasoning_content, message.content]);
});

test('a schema', async () => {
  const schema = { type: 'object', properties: { happy: { type: 'boolean' } }, required: ['happy'], additionalProperties: false };
  const message = await whole({ ...plain, max_tokens: 100, response_format: {
    type: 'json_schema', json_schema: { name: 'mood', strict: true, schema } } });
  assert.equal(typeof JSON.parse(message.content).happy, 'boolean');
});

test('errors are the package\'s own', async () => {
  await assert.rejects(chat.create({ ...plain, temperature: 1000 }),
    (e) => e instanceof OpenAI.BadRequestError && e.param === 'temperature');
  await assert.rejects(chat.create({ ...plain, model: 'gpt-9' }),
    (e) => e instanceof OpenAI.NotFoundError && e.code === 'model_not_found');
  await assert.rejects(chat.create({ ...plain, n: 9 }), (e) => e instanceof OpenAI.BadRequestError && e.param === 'n');
});

test('an abort frees the places', async () => {
  const stream = await chat.create({ ...plain, max_tokens: 1900, n: 8, stream: true, ignore_eos: true });
  for await (const chunk of stream) {
    assert.equal(chunk.object, 'chat.completion.chunk');
    stream.controller.abort();
  }
  for (;;) {
    try {
      return void await chat.create({ ...plain, max_tokens: 1, n: 8 });
    } catch (error) {
      assert.ok(error instanceof OpenAI.RateLimitError, error);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
});
