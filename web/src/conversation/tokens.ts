// An answer as the tokens it was drawn as: what GET messages/ID/tokens says of each, in a form to be shown.

/// As the server has it: a token is [bits, text, logprob, other text, its logprob, ...]; texts by number, as a string or,
/// where it is a part of a character, as bytes.
export interface TokenTable {
  total: number;
  texts: (string | number[])[];
  tokens: number[][];
}

export interface Chance {
  text: string;  // visible
  p: number;
}
export interface TokenFacts extends Chance {
  thinking: boolean;
  forced: boolean;   // by the thinking budget or by a form, not drawn
  control: boolean;  // no text of the answer
  others: Chance[];  // the likeliest at its place, itself too if it is one of them, the likeliest first
  rank: number;      // its own place among them from 1 on; 0: behind them
}

const hex = (bytes: number[]): string => `⟨${bytes.map((b) => b.toString(16).toUpperCase().padStart(2, '0')).join(' ')}⟩`;

/// A token's text in which spaces, tabs, line ends and what has no glyph are seen.
export function visible(text: string | number[]): string {
  if (typeof text !== 'string') return hex(text);
  if (text === '') return '∅';
  return text.replaceAll(' ', '␣').replaceAll('\n', '↵').replaceAll('\t', '⇥')
    .replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (c) => `⟨U+${c.codePointAt(0)!.toString(16).toUpperCase().padStart(4, '0')}⟩`);
}

/// The same within the running text: spaces stay spaces, and lines end.
export function inText(text: string | number[]): string {
  return typeof text === 'string' && text !== '' ? text.replace(/\r?\n/g, '↵\n') : visible(text);
}

export function factsOf(table: TokenTable, index: number): TokenFacts {
  const [bits = 0, text = 0, logprob = 0, ...rest] = table.tokens[index]!;
  const others: Chance[] = [];
  let rank = 0;
  for (let i = 0; i + 1 < rest.length; i += 2) {
    if (rest[i] === text) rank = i / 2 + 1;
    others.push({ text: visible(table.texts[rest[i]!] ?? ''), p: Math.exp(rest[i + 1]!) });
  }
  return {
    text: visible(table.texts[text] ?? ''), p: Math.exp(logprob), others, rank,
    thinking: (bits & 1) !== 0, forced: (bits & 2) !== 0, control: (bits & 4) !== 0,
  };
}

/// Bounds between the tints, as probabilities; tint 0 is that of the surest.
export const kBounds = [0.9, 0.5, 0.2, 0.05];
export const tintOf = (p: number): number => {
  const at = kBounds.findIndex((bound) => p >= bound);
  return at < 0 ? kBounds.length : at;
};

/// A stretch of tokens that is drawn as one: only those that are seen are.
export interface Stretch {
  start: number;
  end: number;
  thinking: boolean;
  begins: boolean;  // the thinking, or the answer
  lines: number;    // about so many
}

const kShort = 150, kLong = 400, kLineOfText = 80;

/// Cut behind a line's end where one comes in time, and between thinking and answer.
export function stretches(table: TokenTable): Stretch[] {
  const out: Stretch[] = [];
  const thinks = (index: number): boolean => (table.tokens[index]![0]! & 1) !== 0;
  let characters = 0, lines = 0;
  for (let start = 0, at = 0; at < table.tokens.length; ++at) {
    const text = inText(table.texts[table.tokens[at]![1]!] ?? '');
    const ends = text.split('\n').length - 1;
    characters += text.length;
    if (ends > 0) lines += ends - 1 + Math.max(1, Math.ceil(characters / kLineOfText)), characters = 0;
    const count = at + 1 - start, over = at + 1 === table.tokens.length || thinks(at + 1) !== thinks(at);
    if (!over && count < kLong && !(count >= kShort && text.endsWith('\n'))) continue;
    out.push({ start, end: at + 1, thinking: thinks(at), begins: start === 0 || thinks(start - 1) !== thinks(at),
      lines: Math.max(1, lines + Math.ceil(characters / kLineOfText)) });
    start = at + 1, characters = lines = 0;
  }
  return out;
}
