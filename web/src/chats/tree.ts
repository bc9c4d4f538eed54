// The messages of a chat are a tree: an edit or another answer is a new sibling. Pure functions over a map of them.
import type { Message } from '../api/types';

export type Messages = ReadonlyMap<string, Message>;
type Node = Pick<Message, 'id' | 'parent' | 'created'>;
type Nodes = ReadonlyMap<string, Node>;

const byAge = (a: Node, b: Node): number => a.created - b.created || (a.id < b.id ? -1 : a.id > b.id ? 1 : 0);

/// Those that follow `parent` (null: the chat's beginning), oldest first.
export function childrenOf<T extends Node>(messages: ReadonlyMap<string, T>, parent: string | null): T[] {
  return [...messages.values()].filter((m) => m.parent === parent).sort(byAge);
}

/// From the first message down to `leaf`; empty where the chat does not have it.
export function pathTo<T extends Node>(messages: ReadonlyMap<string, T>, leaf: string | null): T[] {
  const path: T[] = [], seen = new Set<string>();
  for (let at = leaf; at !== null && !seen.has(at);) {
    const message = messages.get(at);
    if (!message) break;
    seen.add(at);
    path.push(message);
    at = message.parent;
  }
  return path.reverse();
}

/// The end of the newest branch below `id`: what is shown when one turns to this sibling.
export function newestLeaf(messages: Nodes, id: string | null): string | null {
  for (let at = id;;) {
    const next = childrenOf(messages, at).at(-1);
    if (!next) return at;
    at = next.id;
  }
}

/// What is read: the path to the chat's leaf and on to the end of its newest branch.
export function shownPath<T extends Node>(messages: ReadonlyMap<string, T>, leaf: string | null): T[] {
  const known = leaf !== null && messages.has(leaf) ? leaf : null;
  return pathTo(messages, newestLeaf(messages, known));
}

/// `id` and all that follows it.
export function branch(messages: Nodes, id: string): Set<string> {
  const found = new Set([id]);
  for (const at of found) for (const child of childrenOf(messages, at)) found.add(child.id);
  return found;
}

export interface TreeRow<T> {
  message: T;
  depth: number;
}

/// All messages from the top down; only a message with siblings moves what is below it one step in.
export function treeRows<T extends Node>(messages: ReadonlyMap<string, T>): TreeRow<T>[] {
  const rows: TreeRow<T>[] = [];
  const open: TreeRow<T>[] = childrenOf(messages, null).reverse().map((message) => ({ message, depth: 0 }));
  for (let row = open.pop(); row; row = open.pop()) {
    rows.push(row);
    const children = childrenOf(messages, row.message.id);
    const depth = row.depth + (children.length > 1 ? 1 : 0);
    for (const message of children.reverse()) open.push({ message, depth });
  }
  return rows;
}
