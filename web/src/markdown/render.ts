// Markdown to HTML. Raw HTML in the source is shown as text, never as elements; pictures become links, so that an answer
// cannot make the page fetch anything. What comes out goes through sanitize.ts all the same before it reaches the page.
import MarkdownIt from 'markdown-it';
import { math } from './math';

const kSafeLink = /^(?:https?:|mailto:|#)/i;

export const markdown = new MarkdownIt({ html: false, linkify: true, breaks: false, typographer: false });
markdown.linkify.set({ fuzzyLink: false, fuzzyEmail: false });
markdown.validateLink = (url) => kSafeLink.test(url.trim());
markdown.use(math);

const escape = markdown.utils.escapeHtml;
const rules = markdown.renderer.rules;
rules.link_open = (tokens, index, options, _env, self) => {
  tokens[index]!.attrSet('target', '_blank');
  tokens[index]!.attrSet('rel', 'noopener noreferrer nofollow');
  return self.renderToken(tokens, index, options);
};
rules.image = (tokens, index) => {
  const token = tokens[index]!, url = String(token.attrGet('src') ?? '');
  return `<a href="${escape(url)}" target="_blank" rel="noopener noreferrer nofollow">${escape(token.content || url)}</a>`;
};
rules.table_open = () => '<div class="table" tabindex="0"><table>';
rules.table_close = () => '</table></div>';
// "text-align:right" as a class: the page's policy has no styles in attributes.
rules.th_open = rules.td_open = (tokens, index, options, _env, self) => {
  const token = tokens[index]!, align = /right|center/.exec(String(token.attrGet('style') ?? ''))?.[0];
  token.attrs = align ? [['class', align]] : null;
  return self.renderToken(tokens, index, options);
};
rules.fence = rules.code_block = (tokens, index) => {
  const token = tokens[index]!;
  const language = /^[\w+#.-]{1,30}/.exec(token.info.trim())?.[0] ?? '';
  return `<pre class="code" data-language="${escape(language)}" tabindex="0"><code>${escape(token.content)}</code></pre>`;
};
