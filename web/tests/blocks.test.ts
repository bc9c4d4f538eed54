import { describe, expect, it } from 'vitest';
import { BlockSplitter } from '../src/markdown/blocks';
import { markdown } from '../src/markdown/render';

const kTexts: Record<string, string> = {
  paragraphs: 'One.\n\nTwo\nlines.\n\nThree.',
  code: 'Look:\n```py\na = 1\n\n# not a heading\n\n- not a list\n```\nThen text.\n',
  tildes: '~~~\n```\n\n~~~\n\nafter',
  'open fence': '```\nnever closed\n\nstill code\n',
  lists: '- a\n- b\n\n- c, loose\n\n  more of c\n1. other\n2. list\n\nEnd.',
  table: 'Words\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n> quoted\nlazy\n\n---\n# Head\ntext\n===\n',
  'a tag is no heading': 'abc\n#tag goes on\n\n#\n# real\n',
  math: 'So\n\n$$\nx\n\ny\n$$\n\nand \\[ a\n\nb \\] no\n\n\\[\nc\n\\]\nEnd $x$ and $5 and $6.\n',
  'math that ends a paragraph': 'So $$\nx\n$$\n\nafter $$\ny\n$$ and *more*\n\n$$\nnever closed\n\n*text*\n',
  'math in lists': '- a\n  $$\n  x\n  $$\n- b\n  $$\nc\n  $$\n\n*d*\n\n> \\[\n> y\n\nend\n',
  html: '<script>alert(1)</script>\n\n<b>bold</b>\n',
  'leading lines': '\n\n\n```\ncode\n```\n',
  windows: 'a\r\n\r\n- b\r\n- c\r\n\r\nd\r\n',
};

/// What a page shows after the text came in pieces of `size`.
function grown(text: string, size: number): string {
  const splitter = new BlockSplitter();
  let html = '', open = '';
  for (let end = size; ; end += size) {
    const blocks = splitter.update(text.slice(0, end));
    expect(blocks.restart).toBe(false);
    for (const source of blocks.settled) html += markdown.render(source);
    open = markdown.render(blocks.open);
    if (end >= text.length) return html + open;
  }
}

describe('a text that grows', () => {
  for (const [name, text] of Object.entries(kTexts))
    it(`is at last what it is at once: ${name}`, () => {
      const once = markdown.render(text);
      for (const size of [1, 2, 3, 7, 1000]) expect(grown(text, size)).toBe(once);
    });

  it('settles all blocks but the last', () => {
    const splitter = new BlockSplitter();
    expect(splitter.update('One.\n\nTwo.\n').settled).toEqual(['One.\n\n']);
    expect(splitter.update('One.\n\nTwo.\n\nThree.\n')).toEqual({ settled: ['Two.\n\n'], open: 'Three.\n', restart: false });
  });

  it('says when it is another text', () => {
    const splitter = new BlockSplitter();
    splitter.update('One.\n\nTwo.\n');
    expect(splitter.update('Other.\n\nText.\n')).toEqual({ settled: ['Other.\n\n'], open: 'Text.\n', restart: true });
  });

  it('parses little per token however long it is', () => {
    const splitter = new BlockSplitter();
    const parse = markdown.parse.bind(markdown);
    let most = 0;
    markdown.parse = (text, env) => {
      most = Math.max(most, text.length);
      return parse(text, env);
    };
    let text = '';
    for (let i = 0; i < 400; ++i) splitter.update((text += `Paragraph ${i} says little.\n\n`));
    for (splitter.update((text += '```\n')); text.length < 40_000;) splitter.update((text += 'line of code\n'));
    markdown.parse = parse;
    expect(most).toBeLessThan(100);
  });
});
