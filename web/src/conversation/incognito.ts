// The OpenAI-shaped stream, read for its thinking and text.
import { request } from '../api/client';
import { readEvents } from '../api/sse';
import type { ChatSettings } from '../api/types';

interface Piece {
  thinking?: string | undefined;
  text?: string | undefined;
}
interface Chunk {
  choices?: { delta?: { reasoning_content?: string | null; content?: string | null } }[];
  error?: { message: string };
}

export async function* complete(
  messages: { role: string; content: string }[], model: string, settings: ChatSettings, signal: AbortSignal,
): AsyncGenerator<Piece> {
  const { thinking, effort, budget, ...sampling } = settings;
  const body = {
    ...sampling, model, messages, stream: true,
    ...(thinking === undefined ? {} : { thinking: { type: thinking ? 'enabled' : 'disabled', ...(budget ? { budget_tokens: budget } : {}) } }),
    ...(effort ? { reasoning_effort: effort } : {}),
  };
  const response = await request('/v1/chat/completions',
    { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body), signal });
  for await (const event of readEvents(response.body!)) {
    if (event.data === '[DONE]') return;
    const chunk = JSON.parse(event.data) as Chunk;
    if (chunk.error) throw new Error(chunk.error.message);
    const delta = chunk.choices?.[0]?.delta;
    if (delta) yield { thinking: delta.reasoning_content ?? undefined, text: delta.content ?? undefined };
  }
}
