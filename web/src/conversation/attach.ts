// Text and source files become a named code block of the message.
const kMostBytes = 400_000;

/// null where the file is not text or too long.
export async function attached(file: File): Promise<string | null> {
  if (file.size > kMostBytes) return null;
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(await file.arrayBuffer());
  } catch {
    return null;
  }
  return text.includes('\0') ? null : asBlock(file.name, text);
}

/// The fence is longer than any run of backticks inside.
export function asBlock(name: string, text: string): string {
  const longest = Math.max(2, ...[...text.matchAll(/`{3,}/g)].map((run) => run[0].length));
  const fence = '`'.repeat(longest + 1);
  const language = /\.(\w{1,12})$/.exec(name)?.[1]?.toLowerCase() ?? '';
  return `${name.replace(/[\r\n`]/g, ' ')}:\n${fence}${language}\n${text.replace(/\n$/, '')}\n${fence}`;
}
