// What a settled block gets on top of its text: typeset formulas, coloured code, a bar with the language and a copy
// button. KaTeX and highlight.js are fetched when the first block needs them.
import { t } from '../texts/texts.svelte';

/// `load` the first time, then what it gave: the built page's import looks through the whole document at each call.
function once<T>(load: () => Promise<T>): () => Promise<T> {
  let loaded: Promise<T> | null = null;
  return () => loaded ??= load().catch((error: unknown) => {
    loaded = null;  // the network may be back the next time
    throw error;
  });
}
const katexModule = once(() => import('./katex')), highlightModule = once(() => import('./highlight'));

async function typeset(elements: Element[]): Promise<void> {
  const { default: katex } = await katexModule();
  for (const element of elements) {
    const displayMode = element.hasAttribute('data-display');
    katex.render(element.getAttribute('data-tex') ?? '', element as HTMLElement,
      { displayMode, throwOnError: false, trust: false, maxExpand: 200, maxSize: 30 });
  }
}

async function colour(blocks: HTMLElement[]): Promise<void> {
  const { highlighted } = await highlightModule();
  for (const block of blocks) {
    const code = block.querySelector('code')!;
    const html = highlighted(code.textContent ?? '', block.dataset.language ?? '');
    if (html !== null) code.innerHTML = html;
  }
}

function addBar(block: HTMLElement): void {
  const bar = document.createElement('div');
  bar.className = 'code-bar';
  const name = document.createElement('span');
  name.textContent = block.dataset.language || t('code');
  const button = document.createElement('button');
  button.type = 'button';
  button.textContent = t('copy');
  button.addEventListener('click', async () => {
    await navigator.clipboard.writeText(block.querySelector('code')?.textContent ?? '');
    button.textContent = t('copied');
    setTimeout(() => (button.textContent = t('copy')), 1500);
  });
  bar.append(name, button);
  const frame = document.createElement('div');
  frame.className = 'code-frame';
  block.replaceWith(frame);
  frame.append(bar, block);
}

const all = (root: Element, selector: string): HTMLElement[] => [...root.querySelectorAll<HTMLElement>(selector)];

/// Formulas also in blocks that are still written: a formula in the text is whole as soon as it is recognised.
export function finishMath(root: Element): void {
  const formulas = all(root, '.math').filter((e) => !e.querySelector('.katex'));
  if (formulas.length > 0) void typeset(formulas);
}

export function finishBlock(root: Element): void {
  finishMath(root);
  const code = all(root, 'pre.code');
  code.forEach(addBar);
  const named = code.filter((block) => block.dataset.language);
  if (named.length > 0) void colour(named);
}
