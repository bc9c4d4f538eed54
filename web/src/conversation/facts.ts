// The rows of the insight panel: what the server told of an answer, in words.
import type { Info, Message } from '../api/types';
import type { Key } from '../texts/texts.svelte';

interface Words {
  t: (key: Key, fields?: Record<string, string | number>) => string;
  number: (n: number, digits?: number) => string;
  duration: (ms: number) => string;
}

// DeepSeek's list prices of V4.1 flash at peak times, dollars for a million tokens; off peak and at weekends half of it.
export const kPrices = { model: 'V4.1 flash', since: Date.UTC(2026, 8, 10), hit: 0.006, miss: 0.3, out: 1.2, offPeak: 0.5 };

export function listPrice(prompt: number, cached: number, completion: number): number {
  return ((prompt - cached) * kPrices.miss + cached * kPrices.hit + completion * kPrices.out) / 1e6;
}

/// What an answer would have cost at DeepSeek, in a sentence; null where its tokens are not known.
export function costLine({ info }: Message, { t, number, day }: Words & { day: (ms: number) => string }): string | null {
  if (info?.prompt_tokens === undefined || info.completion_tokens === undefined) return null;
  const cached = info.cached_tokens ?? 0, dollars = listPrice(info.prompt_tokens, cached, info.completion_tokens);
  return t('cost_line', {
    model: kPrices.model, date: day(kPrices.since), peak: number(dollars, 6), low: number(dollars * kPrices.offPeak, 6),
    hit: number(kPrices.hit, 3), miss: number(kPrices.miss, 2), out: number(kPrices.out, 2),
    cached: number(cached), fresh: number(info.prompt_tokens - cached), written: number(info.completion_tokens),
  });
}

/// "42 J (0.012 Wh), estimated: 10 W per busy core". What is no counter is no measurement, and is called so.
function energyLine(info: Info, { t, number }: Words): string | undefined {
  const { energy_j: joules, energy_source: source, energy_share: share = 1 } = info;
  if (joules === undefined || source === undefined) return undefined;
  const wh = joules / 3600;
  const amount = t('energy_amount', { j: number(joules, joules < 10 ? 1 : 0), wh: number(wh, wh < 0.1 ? 4 : wh < 10 ? 2 : 0) });
  const watts = /^model: ([\d.]+) W per busy core$/.exec(source)?.[1], counters = /^counter \((.*)\)$/.exec(source)?.[1];
  const how = counters !== undefined ? t('energy_measured', { by: counters })
    : t('energy_estimated', { by: watts !== undefined ? t('energy_per_core', { w: number(Number(watts)) }) : source });
  return `${amount}, ${how}${share < 0.9995 ? ` · ${t('energy_share', { p: number(share * 100) })}` : ''}`;
}

export function facts(message: Message, words: Words): [string, string][] {
  const { t, number, duration } = words;
  const info = message.info ?? {};
  const rows: [Key, string | undefined][] = [
    ['fact_model', message.model ?? undefined],
    ['fact_profile', [info.profile, info.format].filter(Boolean).join(' · ') || undefined],
    ['fact_prompt', info.prompt_tokens === undefined ? undefined
      : number(info.prompt_tokens)],
    ['fact_cached', info.cached_tokens === undefined || !info.prompt_tokens ? undefined
      : `${number(info.cached_tokens)} (${number(info.cached_tokens / info.prompt_tokens * 100)} %)`],
    ['fact_answer', info.completion_tokens === undefined ? undefined
      : number(info.completion_tokens) + (info.thinking_tokens ? ` (${t('of_thinking', { n: number(info.thinking_tokens) })})` : '')],
    ['fact_speed', info.tokens_per_second === undefined ? undefined : t('per_second', { n: number(info.tokens_per_second, 1) })],
    ['fact_first', info.time_to_first_token_ms === undefined ? undefined : duration(info.time_to_first_token_ms)],
    ['fact_total', info.total_ms === undefined ? undefined : duration(info.total_ms)],
    ['fact_energy', energyLine(info, words)],
    ['fact_seed', info.seed === undefined ? undefined : String(info.seed)],
    ['fact_end', info.finish_reason],
    ['fact_file', info.model_file],
    ['fact_hash', info.weights_id],
  ];
  return rows.filter((row): row is [Key, string] => row[1] !== undefined).map(([key, value]) => [t(key), value]);
}
