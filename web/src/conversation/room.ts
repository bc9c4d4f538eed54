// What to do when a chat fills the context window: go on with its newest turns, or with a summary of it.
import { api } from '../api/client';
import type { Message, Model } from '../api/types';
import { complete } from './incognito';

export interface Said {
  role: string;
  content: string;
}

/// The newest turns, about half of the text, from a question on; null where nothing older could be left out.
export function newestTurns<T extends Said>(path: T[]): T[] | null {
  const length = (messages: T[]): number => messages.reduce((sum, m) => sum + m.content.length, 0);
  const half = length(path) / 2;
  const starts = path.flatMap((m, at) => (m.role === 'user' && at > 0 ? [at] : []));
  const start = starts.find((at) => length(path.slice(at)) <= half) ?? starts.at(-1);
  return start === undefined ? null : path.slice(start);
}

/// Asks the model to sum up. Where the whole does not fit, the oldest messages stay out, and `left_out` says how many.
/// Throws ApiError as the server refuses, and whatever `signal` aborts with.
export async function summaryOf(path: Message[], system: string | null, ask: string, model: Model, signal: AbortSignal): Promise<{ text: string; left_out: number }> {
  const ctx = model.ctx ?? 4096, most = Math.min(400, Math.floor(ctx / 8));
  let left_out = 0;
  const messages = (): Said[] => [...(system ? [{ role: 'system', content: system }] : []),
    ...path.slice(left_out).map(({ role, content }) => ({ role, content })), { role: 'user', content: ask }];
  while (left_out + 1 < path.length && await api.promptTokens(messages(), model.name) > ctx - most)
    do ++left_out; while (left_out + 1 < path.length && path[left_out]!.role !== 'user');
  let text = '';
  for await (const piece of complete(messages(), model.name, { ...(model.can_think ? { thinking: false } : {}), max_tokens: most }, signal))
    text += piece.text ?? '';
  return { text: text.trim(), left_out };
}
