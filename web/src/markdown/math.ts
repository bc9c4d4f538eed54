// Mathematics in Markdown: $...$, \(...\) in a line; $$...$$ and \[...\] as blocks of their own. The rules only find the
// formulas; they become elements of class "math" with the source in data-tex, which finish.ts fills. A block that is not
// closed yet is one only where the text still grows (`env.growing`): else it is text, so that a stray $$ swallows nothing.
import type { MarkdownIt } from 'markdown-it';

/// Characters of a formula: without a bound, text full of openings would be searched to its end for each.
export const kLongestFormula = 10_000;

const kBlocks = [['$$', '$$'], ['\\[', '\\]']] as const;

/// Whether $ at `at` can open (`side` 1) or close (`side` -1) a formula: "a $5 and $6 note" holds none.
function dollarFits(text: string, at: number, side: 1 | -1): boolean {
  const inside = text[at + side] ?? ' ', outside = text[at - side] ?? ' ';
  return !/\s/.test(inside) && (side === 1 ? !/[\w$]/.test(outside) : !/[\d$]/.test(outside));
}

/// Where `close` comes next, within a formula's length; -1: it does not.
function closing(text: string, close: string, from: number): number {
  const at = text.slice(from, from + kLongestFormula).indexOf(close);
  return at < 0 ? -1 : from + at;
}

function closingDollar(text: string, from: number): number {
  text = text.slice(0, from + kLongestFormula);
  for (let at = text.indexOf('$', from); at >= 0; at = text.indexOf('$', at + 1))
    if (text[at - 1] !== '\\') return dollarFits(text, at, -1) ? at : -1;
  return -1;
}

export function math(md: MarkdownIt): void {
  md.inline.ruler.before('escape', 'math', (state, silent) => {
    const text = state.src, start = state.pos;
    let open = '', end = -1, close = '';
    if (text.startsWith('\\(', start) || text.startsWith('\\[', start)) {
      open = text.slice(start, start + 2);
      close = open === '\\(' ? '\\)' : '\\]';
      end = closing(text, close, start + 2);
    } else if (text.startsWith('$$', start)) {
      open = close = '$$';
      end = closing(text, '$$', start + 2);
    } else if (text[start] === '$' && dollarFits(text, start, 1)) {
      open = close = '$';
      end = closingDollar(text, start + 1);
    }
    if (open === '' || end < 0 || end >= state.posMax || end === start + open.length) return false;
    if (!silent) {
      const token = state.push(open === '\\[' || open === '$$' ? 'math_display' : 'math_inline', 'span', 0);
      token.content = text.slice(start + open.length, end).trim();
    }
    state.pos = end + close.length;
    return true;
  });

  md.block.ruler.before('fence', 'math_block', (state, startLine, endLine, silent) => {
    const first = state.src.slice(state.bMarks[startLine]! + state.tShift[startLine]!, state.eMarks[startLine]).trim();
    const kind = kBlocks.find(([open]) => first.startsWith(open));
    if (!kind || state.sCount[startLine]! - state.blkIndent >= 4) return false;
    const [open, close] = kind;
    // "so $$" and lines below: this $$ closes a formula that the paragraph has begun.
    if (silent && open === '$$' && state.getLines(state.line, startLine, 0, false).split('$$').length % 2 === 0) return false;
    let length = 0;
    const lines: string[] = [];
    let line = startLine, rest = first.slice(open.length), closed = false;
    for (;;) {
      const at = rest.indexOf(close);
      if (at >= 0) {
        if (rest.slice(at + close.length).trim() !== '') return false;  // a formula within a sentence
        lines.push(rest.slice(0, at));
        closed = true;
        break;
      }
      lines.push(rest);
      if ((length += rest.length) > kLongestFormula) return false;
      if (++line >= endLine || state.sCount[line]! < state.blkIndent) break;
      rest = state.src.slice(state.bMarks[line]! + Math.min(state.tShift[line]!, state.blkIndent), state.eMarks[line]);
    }
    if (!closed && (line < endLine || !(state.env as { growing?: boolean } | undefined)?.growing)) return false;
    if (!closed && open === '$$' && lines.length > 1 && lines[0] !== '' && lines.includes('')) return false;
    if (silent) return true;
    const token = state.push(closed ? 'math_block' : 'math_open', 'div', 0);
    token.block = true;
    token.content = lines.join('\n').trim();
    token.map = [startLine, closed ? line + 1 : line];
    state.line = closed ? line + 1 : line;
    return true;
  }, { alt: ['paragraph', 'reference', 'blockquote', 'list'] });

  const escape = md.utils.escapeHtml;
  const element = (tag: string, display: boolean) => (source: string) =>
    `<${tag} class="math" data-tex="${escape(source)}"${display ? ' data-display="1"' : ''}>${escape(source)}</${tag}>`;
  const rules: Record<string, (source: string) => string> = {
    math_inline: element('span', false),
    math_display: element('span', true),
    math_block: element('div', true),
    math_open: (source) => `<pre class="math-open">${escape(source)}</pre>`,
  };
  for (const [name, render] of Object.entries(rules))
    md.renderer.rules[name] = (tokens, index) => render(tokens[index]!.content);
}
