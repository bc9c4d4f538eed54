import { expect, it } from 'vitest';
import { inParts, inShort, withFiles } from '../src/conversation/attach';
import { costLine, listPrice } from '../src/conversation/facts';
import { grouped } from '../src/chats/groups';
import { marked } from '../src/search/snippet';
import { de } from '../src/texts/de';
import { en } from '../src/texts/en';
import type { Chat, Info, Message } from '../src/api/types';

it('every language has every key, and the same fields in it', () => {
  const fields = (text: string) => [...text.matchAll(/\{\w+\}/g)].map((m) => m[0]).sort();
  expect(Object.keys(de)).toEqual(Object.keys(en));
  for (const key of Object.keys(en) as (keyof typeof en)[]) expect(fields(de[key]), key).toEqual(fields(en[key]));
});
it('marks what was found', () => {
  expect(marked('a \u0001b\u0002 c')).toEqual([{ text: 'a ', hit: false }, { text: 'b', hit: true }, { text: ' c', hit: false }]);
  expect(marked('<b>\u0001')).toEqual([{ text: '<b>', hit: false }]);
});
it('files stand before the question in DeepSeek’s form, and are found again', () => {
  const files = [{ name: 'a.md', text: 'one\n\ntwo\n' }, { name: 'b\n.py', text: '' }];
  const content = withFiles(files, 'Why?');
  expect(content.startsWith('[file name]: a.md\n[file content begin]\none\n\ntwo\n[file content end]\n[file name]: b .py\n')).toBe(true);
  expect(content.endsWith('\n[file content end]\nWhy?')).toBe(true);
  expect(inParts(content)).toEqual({ files: [{ name: 'a.md', text: 'one\n\ntwo' }, { name: 'b .py', text: '' }], question: 'Why?' });
  expect([inShort(content), inShort(withFiles(files, '')), inShort('plain')]).toEqual(['Why?', 'a.md, b .py', 'plain']);
  expect(inParts('Look: [file name]: x').files).toEqual([]);
});
it('sorts chats under their headings', () => {
  const now = new Date(2026, 5, 15, 12).getTime(), day = 86_400_000;
  const chat = (id: string, updated: number, pinned = false) => ({ id, updated, pinned }) as Chat;
  const groups = grouped([chat('p', 0, true), chat('t', now), chat('y', now - day), chat('w', now - 4 * day), chat('o', 0)], now);
  expect(groups.map((g) => g.name + g.chats[0]!.id)).toEqual(['pinnedp', 'todayt', 'yesterdayy', 'this_weekw', 'oldero']);
});
it('counts cached tokens at their own price', () => {
  expect(listPrice(1e6, 0, 0)).toBeCloseTo(0.3);
  expect(listPrice(1e6, 1e6, 1e6)).toBeCloseTo(1.206);
  const words = { t: (_: string, fields = {}) => JSON.stringify(fields), number: (n: number, digits = 0) => n.toFixed(digits),
    duration: String, day: (ms: number) => new Date(ms).toISOString().slice(0, 10) };
  const told = (info: Info) => costLine({ info } as Message, words);
  expect(told({})).toBeNull();
  expect(JSON.parse(told({ prompt_tokens: 1000, cached_tokens: 600, completion_tokens: 50 })!)).toMatchObject(
    { date: '2026-09-10', peak: '0.000184', low: '0.000092', cached: '600', fresh: '400', written: '50' });
});
