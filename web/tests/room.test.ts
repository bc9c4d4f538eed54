import { expect, it } from 'vitest';
import { newestTurns } from '../src/conversation/room';

const said = (...lengths: number[]) => lengths.map((n, i) => ({ role: i % 2 ? 'assistant' : 'user', content: 'x'.repeat(n) }));

it('the newest turns begin with a question and hold at most half of the text', () => {
  expect(newestTurns(said(10, 10, 10, 10, 10, 10, 10, 10))).toHaveLength(4);
  expect(newestTurns(said(100, 10, 10, 10))).toHaveLength(2);
  expect(newestTurns(said(1, 1, 1, 100))).toHaveLength(2);  // the last turn stays, however long
  expect(newestTurns(said(10, 10))).toBeNull();
  expect(newestTurns([])).toBeNull();
});
