// The server marks what was found with \u0001 and \u0002.
export interface Part {
  text: string;
  hit: boolean;
}

export function marked(snippet: string): Part[] {
  const parts: Part[] = [];
  let hit = false;
  for (const text of snippet.split(/([\u0001\u0002])/)) {
    if (text === '\u0001') hit = true;
    else if (text === '\u0002') hit = false;
    else if (text) parts.push({ text, hit });
  }
  return parts;
}
