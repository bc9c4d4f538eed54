// Answers held against each other.
import type { Message } from '../api/types';

type Text = Pick<Message, 'thinking' | 'content' | 'status'>;

/// Whether `again` is the text of `first`; of one that was stopped, whether it begins with it.
export function sameText(first: Text, again: Text): boolean {
  const [before, after] = [first.thinking ?? '', again.thinking ?? ''];
  if (first.status === 'done') return before === after && first.content === again.content;
  return first.content === '' ? after.startsWith(before) : before === after && again.content.startsWith(first.content);
}

/// What a text comes to: its last \boxed{...}, else its last line, without marks around it. null where it says nothing.
export function finalAnswer(content: string): string | null {
  const boxed = lastBoxed(content);
  const line = boxed ?? content.split('\n').map(plain).filter(Boolean).at(-1) ?? '';
  return plain(line) || null;
}

/// Braces may nest; one that is not closed does not count.
function lastBoxed(content: string): string | null {
  let found: string | null = null;
  for (let at = content.indexOf('\\boxed{'); at >= 0; at = content.indexOf('\\boxed{', at + 1)) {
    let depth = 0;
    for (let i = at + 6; i < content.length; ++i) {
      if (content[i] === '{') ++depth;
      else if (content[i] === '}' && --depth === 0) {
        found = content.slice(at + 7, i);
        break;
      }
    }
  }
  return found;
}

const plain = (text: string): string => text.replace(/[*_`$#>]|\\[()[\]]/g, '').trim()
  .replace(/^((so|thus|therefore),? )?(the )?(final )?(answer|antwort)( is|:)\s*/i, '').replace(/[.!]+$/, '').trim();

/// The same number or words: without case, spaces and commas between thousands.
const sense = (answer: string): string => answer.toLowerCase().replace(/\s+/g, '').replace(/(\d),(?=\d{3}(\D|$))/g, '$1');

export interface Vote {
  answer: string;
  votes: string[];  // ids of messages
}

/// Self-consistency: the final answers of those that came to an end, the most frequent first.
export function vote(messages: Pick<Message, 'id' | 'content' | 'status' | 'info'>[]): Vote[] {
  const votes = new Map<string, Vote>();
  for (const { id, content, status, info } of messages) {
    const cut = info?.finish_reason !== undefined && info.finish_reason !== 'stop';
    const answer = status === 'done' && !cut ? finalAnswer(content) : null;
    if (answer === null) continue;
    const same = votes.get(sense(answer));
    if (same) same.votes.push(id);
    else votes.set(sense(answer), { answer, votes: [id] });
  }
  return [...votes.values()].sort((a, b) => b.votes.length - a.votes.length);
}
