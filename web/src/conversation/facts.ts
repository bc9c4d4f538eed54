// The rows of the insight panel: what the server told of an answer, in words.
import type { Message } from '../api/types';
import type { Key } from '../texts/texts.svelte';

interface Words {
  t: (key: Key, fields?: Record<string, string | number>) => string;
  number: (n: number, digits?: number) => string;
  duration: (ms: number) => string;
}

// DeepSeek's list prices of V4 flash at peak times, dollars for a million tokens, since 16 August 2026.
const kPrices = { hit: 0.014, miss: 0.44, out: 1.32 };

export function listPrice(prompt: number, cached: number, completion: number): number {
  return ((prompt - cached) * kPrices.miss + cached * kPrices.hit + completion * kPrices.out) / 1e6;
}

export function facts(message: Message, { t, number, duration }: Words): [string, string][] {
  const info = message.info ?? {};
  const rows: [Key, string | undefined][] = [
    ['fact_model', message.model ?? undefined],
    ['fact_profile', [info.profile, info.format].filter(Boolean).join(' · ') || undefined],
    ['fact_prompt', info.prompt_tokens === undefined ? undefined
      : number(info.prompt_tokens) + (info.cached_tokens ? ` (${t('from_cache', { n: number(info.cached_tokens) })})` : '')],
    ['fact_answer', info.completion_tokens === undefined ? undefined
      : number(info.completion_tokens) + (info.thinking_tokens ? ` (${t('of_thinking', { n: number(info.thinking_tokens) })})` : '')],
    ['fact_speed', info.tokens_per_second === undefined ? undefined : t('per_second', { n: number(info.tokens_per_second, 1) })],
    ['fact_first', info.time_to_first_token_ms === undefined ? undefined : duration(info.time_to_first_token_ms)],
    ['fact_total', info.total_ms === undefined ? undefined : duration(info.total_ms)],
    ['fact_seed', info.seed === undefined ? undefined : String(info.seed)],
    ['fact_end', info.finish_reason],
    ['fact_file', info.model_file],
    ['fact_hash', info.weights_id],
    ['fact_cost', info.prompt_tokens === undefined || info.completion_tokens === undefined ? undefined
      : `$${listPrice(info.prompt_tokens, info.cached_tokens ?? 0, info.completion_tokens).toFixed(6)}`],
  ];
  return rows.filter((row): row is [Key, string] => row[1] !== undefined).map(([key, value]) => [t(key), value]);
}
