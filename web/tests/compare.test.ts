import { expect, it } from 'vitest';
import { finalAnswer, sameText, vote } from '../src/conversation/compare';

it('a text is the same to the letter, and of a stopped one the beginning counts', () => {
  const text = (thinking: string, content: string, status: 'done' | 'stopped' = 'done') => ({ thinking, content, status });
  expect(sameText(text('a', 'b'), text('a', 'b'))).toBe(true);
  expect(sameText(text('a', 'b'), text('a', 'bc'))).toBe(false);
  expect(sameText(text('a', 'b', 'stopped'), text('a', 'bc'))).toBe(true);
  expect(sameText(text('a', '', 'stopped'), text('ab', 'c'))).toBe(true);
  expect(sameText(text('a', 'b', 'stopped'), text('ab', 'b'))).toBe(false);
});

it('finds what an answer comes to', () => {
  expect(finalAnswer('So $x = \\boxed{\\frac{1}{2}}$, as asked.')).toBe('\\frac{1}{2}');
  expect(finalAnswer('\\boxed{3} or rather \\boxed{4}, not \\boxed{5')).toBe('4');
  expect(finalAnswer('First.\n\n**The final answer is 42.**\n\n')).toBe('42');
  expect(finalAnswer('Therefore, the answer is $1,200$')).toBe('1,200');
  expect(finalAnswer(' \n')).toBeNull();
});

it('counts the answers that came to an end, the most frequent first', () => {
  const said = (id: string, content: string, more = {}) => ({ id, content, status: 'done' as const, info: null, ...more });
  expect(vote([said('a', '1200'), said('b', 'It is.\n7'), said('c', 'Answer: 1,200.'), said('d', '7', { status: 'stopped' as const }),
    said('e', '7', { info: { finish_reason: 'length' } })])).toEqual([{ answer: '1200', votes: ['a', 'c'] }, { answer: '7', votes: ['b'] }]);
  expect(vote([])).toEqual([]);
});
