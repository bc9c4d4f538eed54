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
it('leaves money alone', () => {
  expect(render('It costs $5 or $6, US$7 and $8.')).not.toContain('math');
  // Text full of openings is text: each is looked at no further than a formula may be long.
  for (const [open, close] of [['\\(', '\\)'], ['$$', '$$'], ['$', '$']] as const) {
    expect(render(`a ${open}${'x'.repeat(kLongestFormula - 10)}${close} b`)).toContain('math');
    expect(render(`a ${open}${'x'.repeat(kLongestFormula + 10)}${close} b`)).not.toContain('math');
  }
  expect(render('`$x$`')).not.toContain('math');
});
