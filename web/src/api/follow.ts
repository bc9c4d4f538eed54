// Streams that are taken up again after a lost network, a sleep or a restart of the server.
import { ApiError, request } from './client';
import { gate } from './gate';
import { readEvents } from './sse';
import type { AnswerEvent, Change } from './types';

const wait = (ms: number, signal: AbortSignal) =>
  new Promise<void>((resolve) => {
    const over = () => {
      clearTimeout(timer);
      globalThis.removeEventListener?.('online', over);
      resolve();
    };
    const timer = setTimeout(over, ms);
    globalThis.addEventListener?.('online', over, { once: true });
    signal.addEventListener('abort', over, { once: true });
  });

const kFirstWait = 300, kLongestWait = 4000;

/// Gives every event of an answer once and in order until it is done. What came before a break is not given again:
/// events are counted by their ids. Throws ApiError where the server does not know the message.
export async function* followAnswer(message: string, signal: AbortSignal): AsyncGenerator<AnswerEvent> {
  let last = 0, pause = kFirstWait;
  while (!signal.aborted) {
    try {
      const headers: HeadersInit = last > 0 ? { 'Last-Event-ID': String(last) } : {};
      const response = await request(`/app/api/messages/${message}/stream?from=${last}`, { signal, headers });
      for await (const event of readEvents(response.body!)) {
        const seq = Number(event.id);
        const parsed = JSON.parse(event.data) as AnswerEvent;
        const over = parsed.type === 'done' || parsed.type === 'failed';
        if (seq > last) last = seq;
        else if (parsed.type !== 'prompt' && event.id !== '' && last > 0 && !over) continue;
        pause = kFirstWait;
        yield parsed;
        if (over) return;
      }
    } catch (error) {
      if (error instanceof ApiError && error.status === 401) {
        await gate.opened(signal);
        continue;
      }
      if (error instanceof ApiError && error.status < 500) throw error;
    }
    if (signal.aborted) return;
    await wait(pause, signal);
    pause = Math.min(pause * 2, kLongestWait);
  }
}

/// Calls `changed` for every change on the server and `reached` when the connection comes and goes, until aborted.
export async function followChanges(
  changed: (change: Change) => void, reached: (now: boolean) => void, signal: AbortSignal,
): Promise<void> {
  let pause = kFirstWait;
  while (!signal.aborted) {
    try {
      const response = await request('/app/api/events', { signal });
      reached(true);
      pause = kFirstWait;
      for await (const event of readEvents(response.body!)) changed(JSON.parse(event.data) as Change);
    } catch (error) {
      if (error instanceof ApiError && error.status === 401) {
        await gate.opened(signal);
        continue;
      }
      // A server that is not there, or a stream that broke: both are tried again below.
    }
    if (signal.aborted) return;
    reached(false);
    await wait(pause, signal);
    pause = Math.min(pause * 2, kLongestWait);
  }
}
