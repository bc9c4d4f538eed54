import { expect, it } from 'vitest';
import { checkedInfo } from '../src/api/info';
import type { Message } from '../src/api/types';
import { costLine, facts } from '../src/conversation/facts';
import { factsOf, inText, stretches, tintOf, visible, type TokenTable } from '../src/conversation/tokens';
import { de } from '../src/texts/de';
import { en } from '../src/texts/en';

const words = {
  t: (key: string, fields: Record<string, string | number> = {}) => `${key}${Object.keys(fields).length > 0 ? JSON.stringify(fields) : ''}`,
  number: (n: number, digits = 0) => n.toFixed(digits), duration: (ms: number) => `${ms} ms`, day: String,
};
const message = (info: unknown): Message => ({
  id: 'a', chat: 'b', parent: null, role: 'assistant', content: '', thinking: null, status: 'done', created: 0, info: checkedInfo(info) });

const table: TokenTable = {
  total: 6, texts: ['Hi', ' there', '\n', [240, 159], '<end>'],
  tokens: [[1, 0, -0.01, 0, -0.01, 1, -5], [0, 1, -2, 0, -0.2, 1, -2], [0, 2, -3, 0, -0.1], [0, 3, 0], [6, 4, -0.5]],
};

it('shows of strange numbers those that are numbers', () => {
  for (const info of [null, undefined, 'x', [], 7, {}, { prompt_tokens: null, completion_tokens: 'many', seed: {}, settings: [] }]) {
    expect(checkedInfo(info)).toBeNull();
    expect(facts(message(info), words)).toEqual([]);
    expect(costLine(message(info), words)).toBeNull();
  }
  const info = { prompt_tokens: 8, cached_tokens: null, completion_tokens: -1, total_ms: 'soon', tokens_per_second: NaN, model_file: 'm', settings: { seed: 1 } };
  expect(checkedInfo(info)).toEqual({ prompt_tokens: 8, model_file: 'm', settings: { seed: 1 } });
  expect(facts(message(info), words)).toEqual([['fact_prompt', '8'], ['fact_file', 'm']]);
});
it('says of energy whether it was measured', () => {
  const line = (info: object) => facts(message(info), words).find(([name]) => name === 'fact_energy')?.[1];
  expect(line({ energy_j: 36, energy_source: 'counter (package-0, dram)', energy_share: 1 }))
    .toBe('energy_amount{"j":"36","wh":"0.0100"}, energy_measured{"by":"package-0, dram"}');
  expect(line({ energy_j: 3.6, energy_source: 'model: 10 W per busy core', energy_share: 0.25 }))
    .toBe('energy_amount{"j":"3.6","wh":"0.0010"}, energy_estimated{"by":"energy_per_core{\\"w\\":\\"10\\"}"} · energy_share{"p":"25"}');
  expect(line({ energy_j: 3600, energy_source: 'a rumour' })).toContain('energy_estimated{"by":"a rumour"}');
  expect(line({ energy_j: 3600 })).toBeUndefined();
});
it('makes spaces and line ends seen', () => {
  expect(visible(' a\tb\n')).toBe('␣a⇥b↵');
  expect(visible([240, 159])).toBe('⟨F0 9F⟩');
  expect(visible('a\u0000\u200b')).toBe('a⟨U+0000⟩⟨U+200B⟩');
  expect(visible('')).toBe('∅');
  expect(inText(' a\n\nb')).toBe(' a↵\n↵\nb');
  expect(inText([10])).toBe('⟨0A⟩');
});
it('reads what is told of a token', () => {
  expect(factsOf(table, 1)).toEqual({ text: '␣there', p: Math.exp(-2), thinking: false, forced: false, control: false, rank: 2,
    others: [{ text: 'Hi', p: Math.exp(-0.2) }, { text: '␣there', p: Math.exp(-2) }] });
  expect(factsOf(table, 2).rank).toBe(0);
  expect(factsOf(table, 4)).toMatchObject({ text: '<end>', thinking: false, forced: true, control: true, others: [] });
  expect([1, 0.9, 0.89, 0.5, 0.2, 0.05, 0.049, 0].map(tintOf)).toEqual([0, 0, 1, 1, 2, 3, 4, 4]);
});
it('cuts long answers into stretches that are drawn alone', () => {
  expect(stretches(table).map(({ start, end, thinking, begins }) => [start, end, thinking, begins])).toEqual([[0, 1, true, true], [1, 5, false, true]]);
  const long: TokenTable = { total: 10_000, texts: [' word', '.\n'], tokens: Array.from({ length: 10_000 }, (_, i) => [0, i % 90 === 89 ? 1 : 0, -1]) };
  const parts = stretches(long);
  expect(parts[0]!.start).toBe(0);
  expect(parts.at(-1)!.end).toBe(10_000);
  for (const [i, part] of parts.entries()) {
    expect(part.end - part.start).toBeLessThanOrEqual(400);
    if (i > 0) expect(part.start).toBe(parts[i - 1]!.end);
    if (part.end < 10_000) expect(part.end % 90).toBe(0);  // behind a line's end
  }
  expect(stretches({ total: 0, texts: [], tokens: [] })).toEqual([]);
});
it('has the same words in both languages', () => {
  expect(Object.keys(de).sort()).toEqual(Object.keys(en).sort());
  const fields = (text: string) => [...text.matchAll(/\{(\w+)\}/g)].map((m) => m[1]).sort();
  for (const key of Object.keys(en) as (keyof typeof en)[]) expect([key, fields(de[key])]).toEqual([key, fields(en[key])]);
});
