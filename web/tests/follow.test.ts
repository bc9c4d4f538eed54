import { afterEach, expect, it, vi } from 'vitest';
import { followAnswer } from '../src/api/follow';
import { gate } from '../src/api/gate';

const event = (id: number, data: unknown) => `id: ${id}\ndata: ${JSON.stringify(data)}\n\n`;
const one = event(1, { type: 'text', text: 'a' }), two = event(2, { type: 'text', text: 'b' });
const over = event(3, { type: 'done', message: { id: 'm' } });

/// Answers requests in turn: a stream's text, or null for a network that is gone.
function server(...answers: (string | null)[]) {
  const asked: string[] = [];
  vi.stubGlobal('fetch', async (path: string) => {
    asked.push(path.split('?')[1]!);
    const text = answers.shift();
    if (text === null || text === undefined) throw new TypeError('network');
    return new Response(text);
  });
  return asked;
}
async function texts(): Promise<string[]> {
  const got: string[] = [];
  for await (const e of followAnswer('m', new AbortController().signal)) got.push(e.text ?? e.type);
  return got;
}
afterEach(() => vi.unstubAllGlobals());

it('goes on where the stream broke', async () => {
  const asked = server(one, null, two + over);
  expect(await texts()).toEqual(['a', 'b', 'done']);
  expect(asked).toEqual(['from=0', 'from=1', 'from=1']);
});
it('gives nothing twice', async () => {
  server(one + two, one + two + over);
  expect(await texts()).toEqual(['a', 'b', 'done']);
});
it('ends where the message is unknown', async () => {
  vi.stubGlobal('fetch', async () => new Response('{"error":{"message":"no such message"}}', { status: 404 }));
  await expect(texts()).rejects.toThrow('no such message');
});
it('waits where the session is over, and goes on after the login', async () => {
  let asked = 0;
  const shut = new Promise<void>((resolve) => (gate.onShut = resolve));
  vi.stubGlobal('fetch', async () => {
    if (asked++ === 0) return new Response(one);
    return asked === 2 ? new Response('{"error":{"message":"the session is over"}}', { status: 401 }) : new Response(two + over);
  });
  const got = texts();
  await shut;
  expect(asked).toBe(2);
  gate.open();
  expect(await got).toEqual(['a', 'b', 'done']);
});
