import { expect, it } from 'vitest';
import { branch, childrenOf, newestLeaf, pathTo, shownPath, treeRows } from '../src/chats/tree';

//   a - b - c
//         \ d - e        f is a second beginning
const kNodes = [['a', null], ['b', 'a'], ['c', 'b'], ['d', 'b'], ['e', 'd'], ['f', null]] as const;
const messages = new Map(kNodes.map(([id, parent], i) => [id as string, { id: id as string, parent: parent as string | null, created: i }]));
const ids = (list: { id: string }[]) => list.map((m) => m.id).join('');

it('lists children by age', () => expect(ids(childrenOf(messages, 'b'))).toBe('cd'));
it('finds the way to a leaf', () => expect(ids(pathTo(messages, 'e'))).toBe('abde'));
it('shows a branch to its end', () => {
  expect(ids(shownPath(messages, 'c'))).toBe('abc');
  expect(ids(shownPath(messages, 'd'))).toBe('abde');
  expect(ids(shownPath(messages, null))).toBe('f');
  expect(ids(shownPath(messages, 'gone'))).toBe('f');
});
it('turns to the newest leaf below a sibling', () => expect(newestLeaf(messages, 'b')).toBe('e'));
it('knows what follows a message', () => expect([...branch(messages, 'b')].sort().join('')).toBe('bcde'));
it('steps in only where there is a choice', () =>
  expect(treeRows(messages).map((r) => r.message.id + r.depth).join(' ')).toBe('a0 b0 c1 d1 e1 f0'));
it('ends on a broken tree', () => {
  const loop = new Map([['a', { id: 'a', parent: 'b', created: 0 }], ['b', { id: 'b', parent: 'a', created: 1 }]]);
  expect(pathTo(loop, 'a').length).toBe(2);
});
