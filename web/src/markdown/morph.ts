// Makes one element's children like another's and leaves alone what is the same already: a selection in a block that is
// being written survives, and nothing flickers.
export function morph(old: Element, fresh: ParentNode): void {
  let at: ChildNode | null = old.firstChild;
  for (const next of [...fresh.childNodes]) {
    if (!at) {
      old.append(next);
      continue;
    }
    const following: ChildNode | null = at.nextSibling;
    if (!alike(at, next)) at.replaceWith(next);
    else if (at instanceof Text) {
      const text = next.textContent ?? '';
      if (text.startsWith(at.data)) at.appendData(text.slice(at.data.length));
      else at.data = text;
    } else if (at instanceof Element && next instanceof Element && !typeset(at) && !at.isEqualNode(next)) morph(at, next);
    at = following;
  }
  while (at) {
    const following: ChildNode | null = at.nextSibling;
    at.remove();
    at = following;
  }
}

const typeset = (element: Element): boolean => element.classList.contains('math');

function alike(a: Node, b: Node): boolean {
  if (a.nodeType !== b.nodeType || a.nodeName !== b.nodeName) return false;
  if (!(a instanceof Element) || !(b instanceof Element)) return true;
  return a.attributes.length === b.attributes.length && [...b.attributes].every((x) => a.getAttribute(x.name) === x.value);
}
