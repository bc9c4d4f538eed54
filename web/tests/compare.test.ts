import { expect, it } from 'vitest';
import { sameText } from '../src/conversation/compare';

it('a text is the same to the letter, and of a stopped one the beginning counts', () => {
  const text = (thinking: string, content: string, status: 'done' | 'stopped' = 'done') => ({ thinking, content, status });
  expect(sameText(text('a', 'b'), text('a', 'b'))).toBe(true);
  expect(sameText(text('a', 'b'), text('a', 'bc'))).toBe(false);
  expect(sameText(text('a', 'b', 'stopped'), text('a', 'bc'))).toBe(true);
  expect(sameText(text('a', '', 'stopped'), text('ab', 'c'))).toBe(true);
  expect(sameText(text('a', 'b', 'stopped'), text('ab', 'b'))).toBe(false);
});
