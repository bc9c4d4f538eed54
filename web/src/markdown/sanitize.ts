// The second wall: whatever the renderer made, only these elements and attributes reach the page.
import purifier from 'dompurify';

const kTags = ['a', 'b', 'blockquote', 'br', 'code', 'del', 'div', 'em', 'h1', 'h2', 'h3', 'h4', 'h5', 'h6', 'hr', 'i',
  'li', 'ol', 'p', 'pre', 's', 'span', 'strong', 'sub', 'sup', 'table', 'tbody', 'td', 'th', 'thead', 'tr', 'ul'];
const kAttributes = ['href', 'target', 'rel', 'class', 'start', 'tabindex', 'data-tex', 'data-display', 'data-language'];
const kRules = {
  ALLOWED_TAGS: kTags, ALLOWED_ATTR: kAttributes, ALLOW_DATA_ATTR: false, ALLOW_ARIA_ATTR: false,
  ALLOWED_URI_REGEXP: /^(?:https?:|mailto:|#)/i, ADD_URI_SAFE_ATTR: kAttributes.filter((name) => name !== 'href'), RETURN_DOM_FRAGMENT: true as const,
};

/// `html` as nodes of the page.
export const sanitized = (html: string): DocumentFragment => purifier.sanitize(html, kRules);
