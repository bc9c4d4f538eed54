// Answers held against each other.
import type { Message } from '../api/types';

type Text = Pick<Message, 'thinking' | 'content' | 'status'>;

/// Whether `again` is the text of `first`; of one that was stopped, whether it begins with it.
export function sameText(first: Text, again: Text): boolean {
  const [before, after] = [first.thinking ?? '', again.thinking ?? ''];
  if (first.status === 'done') return before === after && first.content === again.content;
  return first.content === '' ? after.startsWith(before) : before === after && again.content.startsWith(first.content);
}
