// Markdown that grows: which part of the source is settled. CommonMark closes a block when the next one at its level
// begins and never opens it again, so that all top-level blocks but the last stay as they are, whatever follows. Only
// whole lines count: "#" may still become "#tag", which is a paragraph's text.
import { markdown } from './render';

export interface Blocks {
  /// Sources of the blocks that are settled since the last call, in order.
  settled: string[];
  /// The source behind them: at most the block that is being written, and its beginning.
  open: string;
}

export class BlockSplitter {
  private source = '';
  private settledEnd = 0;  // in source
  private scannedEnd = 0;  // whole lines up to here have been looked at

  /// `source` is all text up to now. `restart` tells that it does not continue what was there before.
  update(source: string): Blocks & { restart: boolean } {
    const restart = !source.startsWith(this.source);
    if (restart) this.settledEnd = this.scannedEnd = 0;
    this.source = source;
    const linesEnd = source.lastIndexOf('\n') + 1;
    const settled: string[] = [];
    if (linesEnd > this.scannedEnd && !this.stillFenced(source, linesEnd)) {
      const text = source.slice(this.settledEnd, linesEnd);
      const starts = topLevelStarts(text);
      let begin = 0;
      for (const start of starts.slice(1)) {
        settled.push(text.slice(begin, start));
        begin = start;
      }
      this.settledEnd += begin;
    }
    this.scannedEnd = Math.max(this.scannedEnd, linesEnd);
    return { settled, open: source.slice(this.settledEnd), restart };
  }

  /// A long code block that is being written is not parsed for each of its lines: only a line like its fence ends it.
  private stillFenced(source: string, linesEnd: number): boolean {
    if (this.scannedEnd <= this.settledEnd) return false;
    const fence = /^ {0,3}(`{3,}|~{3,})/.exec(source.slice(this.settledEnd, this.settledEnd + 80))?.[1];
    return fence !== undefined && !source.slice(this.scannedEnd, linesEnd).includes(fence.slice(0, 3));
  }
}

/// Where the top-level blocks of `text` begin, as positions in it.
function topLevelStarts(text: string): number[] {
  const lines = new Set<number>();
  for (const token of markdown.parse(text, { growing: true }))
    if (token.level === 0 && token.map && token.nesting >= 0) lines.add(token.map[0]);
  const starts: number[] = [];
  let line = 0, position = 0;
  for (const wanted of [...lines].sort((a, b) => a - b)) {
    for (; line < wanted; ++line) position = text.indexOf('\n', position) + 1;
    starts.push(position);
  }
  return starts;
}
