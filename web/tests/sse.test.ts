import { expect, it } from 'vitest';
import { EventReader, readEvents } from '../src/api/sse';

const kStream = ': hello\n\nid: 1\ndata: {"a":\ndata: 1}\n\nid: 2\r\nevent: x\r\ndata:two\r\n\r\n:\n\nretry: 5\n\ndata: ä€😀\n\n';
const kEvents = [
  { id: '1', event: 'message', data: '{"a":\n1}' }, { id: '2', event: 'x', data: 'two' }, { id: '2', event: 'message', data: 'ä€😀' },
];

it('reads events however they are cut', () => {
  for (let size = 1; size < kStream.length; ++size) {
    const reader = new EventReader(), events = [];
    for (let at = 0; at < kStream.length; at += size) events.push(...reader.push(kStream.slice(at, at + size)));
    expect(events).toEqual(kEvents);
  }
});
it('reads bytes that are cut inside a letter', async () => {
  const bytes = new TextEncoder().encode(kStream);
  const body = new ReadableStream<Uint8Array>({
    start(c) {
      for (const byte of bytes) c.enqueue(new Uint8Array([byte]));
      c.close();
    },
  });
  const events = [];
  for await (const event of readEvents(body)) events.push(event);
  expect(events).toEqual(kEvents);
});
