// Vercel's AI SDK with its OpenAI, OpenAI-compatible and DeepSeek providers, against the server at FATHOM_URL.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createDeepSeek } from '@ai-sdk/deepseek';
import { createOpenAI } from '@ai-sdk/openai';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { APICallError, generateText, Output, stepCountIs, streamText, tool } from 'ai';
import { z } from 'zod';

const url = process.env.FATHOM_URL;
const apiKey = 'none';
const compatible = createOpenAICompatible({
  name: 'fathom', baseURL: `${url}/v1`, apiKey, includeUsage: true, supportsStructuredOutputs: true });
// DeepSeek's base URL has no /v1.
const deepseek = createDeepSeek({ baseURL: url, apiKey });
const openai = createOpenAI({ baseURL: `${url}/v1`, apiKey });
const plain = { prompt: 'Tell me about rain.', seed: 4, maxOutputTokens: 12, maxRetries: 0 };

for (const [name, model] of Object.entries({
  'openai-compatible': compatible('deepseek-chat'), deepseek: deepseek('deepseek-chat'), openai: openai.chat('deepseek-chat') })) {
  test(`${name}: a stream is the whole answer`, async () => {
    // DeepSeek's provider drops the seed.
    const asked = name === 'deepseek' ? { ...plain, temperature: 0 } : plain;
    const whole = await generateText({ model, ...asked });
    assert.equal(whole.finishReason, 'length');
    assert.equal(whole.usage.outputTokens, 12);
    const stream = streamText({ model, ...asked });
    let text = '';
    for await (const piece of stream.textStream) text += piece;
    assert.equal(text, whole.text);
    assert.equal((await stream.usage).outputTokens, 12);
  });

  test(`${name}: errors`, async () => {
    await assert.rejects(generateText({ model, ...plain, temperature: 1000 }),
      (e) => APICallError.isInstance(e) && e.statusCode === 400 && e.message.includes('temperature'));
  });
}

// The provider's default speaks to /responses.
test('openai: responses', async () => {
  const asked = { ...plain, temperature: 0 };  // the provider drops the seed
  const whole = await generateText({ model: openai('deepseek-chat'), ...asked });
  assert.equal(whole.finishReason, 'length');
  assert.equal(whole.usage.outputTokens, 12);
  const chat = await generateText({ model: openai.chat('deepseek-chat'), ...asked });
  assert.equal(whole.text, chat.text);
  const stream = streamText({ model: openai('deepseek-chat'), ...asked });
  let text = '';
  for await (const piece of stream.textStream) text += piece;
  assert.equal(text, whole.text);
});

test('openai: tools in a loop over responses', async () => {
  let calls = 0;
  const add = tool({ description: 'Adds two numbers.', inputSchema: z.object({ a: z.number(), b: z.number() }),
    execute: async () => { ++calls; return 5; } });
  const result = await generateText({ model: openai('deepseek-chat'), ...plain, temperature: 0, maxOutputTokens: 200,
    prompt: 'What is 2 + 3?', tools: { add }, stopWhen: stepCountIs(2),
    prepareStep: ({ stepNumber }) => ({ toolChoice: stepNumber === 0 ? 'required' : 'none' }) });
  assert.ok(calls >= 1);
  assert.equal(result.steps.length, 2);
});

test('openai: a schema over responses', async () => {
  const { output } = await generateText({ model: openai('deepseek-chat'), ...plain, maxOutputTokens: 200,
    output: Output.object({ schema: z.object({ happy: z.boolean() }) }) });
  assert.equal(typeof output.happy, 'boolean');
});

test('openai: errors of responses', async () => {
  await assert.rejects(generateText({ model: openai('deepseek-chat'), ...plain, temperature: 1000 }),
    (e) => APICallError.isInstance(e) && e.statusCode === 400 && e.message.includes('temperature'));
});

test('openai-compatible: thinking', async () => {
  const asked = { ...plain, maxOutputTokens: 40, providerOptions: { fathom: { thinking_budget: 6 } } };
  const whole = await generateText({ model: compatible('deepseek-reasoner'), ...asked });
  assert.ok(whole.reasoningText && whole.text);
  const stream = streamText({ model: compatible('deepseek-reasoner'), ...asked });
  let thoughts = '';
  for await (const part of stream.fullStream) if (part.type === 'reasoning-delta') thoughts += part.text;
  assert.equal(thoughts, whole.reasoningText);
});

test('deepseek: thinking', async () => {
  const whole = await generateText({ model: deepseek('deepseek-reasoner'), ...plain, temperature: 0, maxOutputTokens: 12 });
  assert.ok(whole.reasoningText);
});

test('openai-compatible: a schema', async () => {
  const { output } = await generateText({ model: compatible('deepseek-chat'), ...plain, maxOutputTokens: 200,
    output: Output.object({ schema: z.object({ happy: z.boolean() }) }) });
  assert.equal(typeof output.happy, 'boolean');
});

test('deepseek: an abort', async () => {
  const controller = new AbortController();
  const stream = streamText({ model: deepseek('deepseek-chat'), ...plain, maxOutputTokens: 1900,
    abortSignal: controller.signal, onError() {} });
  let parts = [];
  for await (const part of stream.fullStream) {
    parts.push(part.type);
    if (part.type === 'text-delta') controller.abort();
  }
  assert.equal(parts.at(-1), 'abort');
});
