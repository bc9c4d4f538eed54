import { expect, it } from 'vitest';
import { kLongestFormula } from '../src/markdown/math';
import { markdown } from '../src/markdown/render';

const render = (text: string) => markdown.render(text).trim();

it('shows HTML as text', () => {
  expect(render('<img src=x onerror=alert(1)>')).toBe('<p>&lt;img src=x onerror=alert(1)&gt;</p>');
  expect(render('```"><script>\nx</code><script>\n```')).not.toContain('<script');
});
it('has no links that run or read anything', () => {
  for (const url of ['javascript:alert(1)', 'JaVaScRiPt:alert(1)', 'data:text/html,x', 'vbscript:x', 'file:///etc/passwd', '/app/api/chats'])
    expect(render(`[a](${url})`)).not.toContain('<a ');
  expect(render('[a](https://x.org)')).toContain('rel="noopener noreferrer nofollow"');
});
it('turns pictures into links, so that nothing is fetched', () => {
  const html = render('![a cat](https://x.org/?secret)');
  expect(html).not.toContain('<img');
  expect(html).toContain('>a cat</a>');
});
it('aligns cells by classes', () => {
  expect(render('|a|b|\n|-:|-|\n|1|2|')).toMatch(/<td class="right">1<\/td>\s*<td>2<\/td>/);
});
it('finds formulas', () => {
  expect(render('a $x^2$ b')).toContain('<span class="math" data-tex="x^2">');
  expect(render('a \\(x\\) b \\[y\\]')).toContain('<span class="math" data-tex="y" data-display="1">');
  expect(render('\\[\n\\frac{1}{2}\n\\]')).toBe('<div class="math" data-tex="\\frac{1}{2}" data-display="1">\\frac{1}{2}</div>');
  expect(render('$"><b>$')).toContain('data-tex="&quot;&gt;&lt;b&gt;"');
});
it('finds formulas in lists, quotations and at the end of a paragraph', () => {
  const block = '<div class="math" data-tex="x" data-display="1">x</div>', inline = '<span class="math" data-tex="x" data-display="1">x</span>';
  for (const [open, close] of [['$$', '$$'], ['\\[', '\\]']] as const) {
    expect(render(`- a\n\n  ${open}\n  x\n  ${close}\n\n- b`)).toContain(block);
    expect(render(`1. ${open}\n   x\n   ${close}\n2. b`)).toContain(block);
    expect(render(`- a:\n${open}\nx\n${close}\n\nend`)).toBe(`<ul>\n<li>a:\n${inline}</li>\n</ul>\n<p>end</p>`);
    expect(render(`> ${open}\n> x\n> ${close}`)).toContain(block);
    expect(render(`so ${open}\nx\n${close}\n\nend`)).toBe(`<p>so ${inline}</p>\n<p>end</p>`);
    expect(render(`so ${open}\nx\n${close} and *more*`)).toBe(`<p>so ${inline} and <em>more</em></p>`);
    expect(render(`so ${open}x${close}\n${open}\nx\n${close}`)).toBe(`<p>so ${inline}</p>\n${block}`);
  }
});
it('takes an opening that is never closed for text, once the text is whole', () => {
  const text = 'a\n\n$$\nb\n\n*c*\n';
  expect(render(text)).toContain('<em>c</em>');
  expect(render(`- a\n  $$\nb\n  $$\n\n*c*\n`)).toContain('<em>c</em>');
  expect(markdown.render(text, { growing: true })).toContain('<pre class="math-open">');
  expect(markdown.render(`$$\n${'x\n'.repeat(kLongestFormula)}*c*`, { growing: true })).toContain('<em>c</em>');
});
it('leaves money alone', () => {
  expect(render('It costs $5 or $6, US$7 and $8.')).not.toContain('math');
  // Text full of openings is text: each is looked at no further than a formula may be long.
  for (const [open, close] of [['\\(', '\\)'], ['$$', '$$'], ['$', '$']] as const) {
    expect(render(`a ${open}${'x'.repeat(kLongestFormula - 10)}${close} b`)).toContain('math');
    expect(render(`a ${open}${'x'.repeat(kLongestFormula + 10)}${close} b`)).not.toContain('math');
  }
  expect(render('`$x$`')).not.toContain('math');
});
