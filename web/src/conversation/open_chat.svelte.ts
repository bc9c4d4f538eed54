// The chat on the screen: its tree of messages, the branch that is read, and the answers that are being written.
import { SvelteMap } from 'svelte/reactivity';
import { api, ApiError, type AnswerRequest } from '../api/client';
import { followAnswer } from '../api/follow';
import { checkedInfo } from '../api/info';
import type { AnswerEvent, Change, Chat, ChatSettings, Message } from '../api/types';
import { app } from '../app.svelte';
import { branch, childrenOf, newestLeaf, shownPath } from '../chats/tree';
import { t } from '../texts/texts.svelte';
import { inParts, inShort } from './attach';
import { sameText } from './compare';

const kGather = 100;  // ms: pieces of an answer reach what is shown together

/// What is known of an answer only while it is written.
export interface Live {
  began: number;           // by this page's clock
  thinkingEnded: number | null;
  thinkingTokens: number;
  prompt: { done: number; total: number } | null;  // while it is read in several steps
}

export class OpenChat {
  chat = $state<Chat | null>(null);
  messages = new SvelteMap<string, Message>();
  live = new SvelteMap<string, Live>();
  missing = $state(false);
  comparing = $state<string | null>(null);  // the question whose answers are seen side by side
  status = $state('');  // for screen readers
  readonly path = $derived(shownPath(this.messages, this.chat?.leaf ?? null));
  readonly running = $derived(this.path.find((m) => m.status === 'running') ?? null);
  readonly last = $derived(this.path.at(-1) ?? null);

  private readonly end = new AbortController();
  private readonly followed = new Set<string>();
  private changes = 0;  // made by this page
  private readonly forget: () => void;

  constructor(readonly id: string) {
    this.forget = app.onChange((change) => void this.changed(change));
    void this.load();
  }
  close(): void {
    this.forget();
    this.end.abort();
  }

  /// What the server says, unless this page did something meanwhile: then it is asked again.
  async load(): Promise<void> {
    const asked = this.changes;
    try {
      const { messages, ...chat } = await api.chat(this.id);
      if (asked !== this.changes) return this.load();
      this.chat = chat;
      const known = new Set(messages.map((m) => m.id));
      for (const id of [...this.messages.keys()]) if (!known.has(id)) this.messages.delete(id);
      for (const message of messages) this.put(message);
    } catch (error) {
      if (error instanceof ApiError && error.status === 404) this.missing = true;
    }
  }

  /// A message that this page follows is not set back to what the server had stored of it.
  private put(message: Message): void {
    if (message.status === 'running' && this.followed.has(message.id)) return;
    const shown = $state({ ...message, info: checkedInfo(message.info) });
    this.messages.set(message.id, shown);
    if (message.status === 'running') void this.follow(message.id);
  }

  private async changed(change: Change): Promise<void> {
    if (change.type === 'hello') return this.load();
    if (change.id !== this.id && change.chat !== this.id) return;
    if (change.type === 'gone' && change.id) {
      if (change.id === this.id) this.missing = true;
      else this.messages.delete(change.id);
    } else if (change.type === 'chat' || change.type === 'message') await this.load();
  }

  private async follow(id: string): Promise<void> {
    this.followed.add(id);
    const live: Live = $state({ began: Date.now(), thinkingEnded: null, thinkingTokens: 0, prompt: null });
    this.live.set(id, live);
    this.status = t('status_writing');
    let fresh = true, timer: ReturnType<typeof setTimeout> | undefined;
    let held: AnswerEvent[] = [];  // pieces that came since the page last heard of some
    const tell = (): void => {
      clearTimeout(timer);
      timer = undefined;
      const message = this.messages.get(id), events = held;
      held = [];
      if (message) for (const event of events) this.take(message, live, event);
    };
    const later = (): void => {
      const more = held.length > 0;
      tell();
      if (more) timer = setTimeout(later, kGather);
    };
    try {
      for await (const event of followAnswer(id, this.end.signal)) {
        const message = this.messages.get(id);
        if (!message) break;
        const piece = event.type === 'text' || event.type === 'thinking';
        if (fresh && piece) {
          // The stream tells everything from the start; what the server had stored is a part of it.
          Object.assign(message, { content: '', thinking: '' });
          fresh = false;
        }
        held.push(event);
        if (!piece) tell();
        else if (timer === undefined) later();
      }
    } catch {
      tell();  // before what the server says of the message, which holds these pieces
      await this.load();
    } finally {
      tell();
      this.followed.delete(id);
      this.live.delete(id);
    }
    const message = this.messages.get(id);
    this.status = message?.status === 'done' ? t('status_done') : t('status_stopped');
    if (message?.status === 'running' && !this.end.signal.aborted) await this.load();
  }

  private take(message: Message, live: Live, event: AnswerEvent): void {
    if (event.type === 'prompt') {
      live.prompt = { done: event.done ?? 0, total: event.total ?? 0 };
      return;
    }
    live.prompt = null;
    if (event.type === 'thinking') {
      message.thinking = (message.thinking ?? '') + (event.text ?? '');
      ++live.thinkingTokens;
    } else if (event.type === 'text') {
      live.thinkingEnded ??= Date.now();
      message.content += event.text ?? '';
    } else if (event.message) {
      Object.assign(message, event.message, { info: checkedInfo(event.message.info) });
    } else if (event.type === 'failed') {
      message.status = 'failed';
      message.error = event.text ?? message.error ?? '';
    }
  }

  private readonly settings = (): ChatSettings => this.chat?.settings ?? {};

  private async answer(fields: AnswerRequest): Promise<Message | null> {
    const { model, ...settings } = this.settings();
    const answer = await app.try(() => api.answer(this.id, { ...(model ? { model } : {}), settings, ...fields }));
    if (answer) this.show(answer);
    return answer;
  }
  private show(message: Message): void {
    ++this.changes;
    this.put(message);
    if (this.chat) this.chat.leaf = message.id;
  }

  /// A new message at the end of the branch, or as a sibling of the one that it replaces, and its answer.
  async send(content: string, parent: string | null = this.last?.id ?? null): Promise<boolean> {
    // The server would name the chat after the first line of its first file.
    if (parent === null && !this.chat?.title && inParts(content).files.length > 0)
      await this.change({ title: inShort(content).split('\n')[0]!.slice(0, 60) });
    const message = await app.try(() => api.addMessage(this.id, { parent, role: 'user', content }));
    if (!message) return false;
    this.show(message);
    await this.answer({ parent: message.id });
    return true;
  }
  async again(answer: Message): Promise<void> {
    await this.answer({ parent: answer.parent! });
  }
  async goOn(answer: Message): Promise<void> {
    const prefix = { ...(answer.thinking ? { thinking: answer.thinking } : {}), content: answer.content };
    await this.answer({ parent: answer.parent!, prefix });
  }
  /// From an edited thinking on.
  async rethink(answer: Message, thinking: string): Promise<void> {
    await this.answer({ parent: answer.parent!, prefix: { thinking } });
  }
  /// The same seed and settings once more, whatever the chat's are today.
  async exactly(answer: Message): Promise<void> {
    const { seed, settings = {} } = answer.info ?? {};
    const none = Object.fromEntries(Object.keys(this.settings()).map((key) => [key, null]));
    const { model: _, ...same } = { ...none, ...settings, ...(seed !== undefined ? { seed } : {}) };
    const next = await this.answer({ parent: answer.parent!, settings: same, ...(answer.model ? { model: answer.model } : {}) });
    if (next) this.repeats.set(next.id, answer.id);
  }
  private readonly repeats = new SvelteMap<string, string>();
  /// Of an answer that `exactly` has made: whether it is the first one's text. An answer that was stopped is held against
  /// the beginning only.
  comparedWithFirst(answer: Message): 'same' | 'other' | null {
    const first = this.messages.get(this.repeats.get(answer.id) ?? '');
    if (!first || answer.status !== 'done') return null;
    return sameText(first, answer) ? 'same' : 'other';
  }
  /// An answer whose text is changed by hand becomes a sibling.
  async rewrite(answer: Message, content: string): Promise<void> {
    const fields = { parent: answer.parent, role: answer.role, content, ...(answer.thinking ? { thinking: answer.thinking } : {}) };
    const message = await app.try(() => api.addMessage(this.id, fields));
    if (message) this.show(message);
  }
  /// These messages once more, as a branch that begins with the first of them; the others stay where they are.
  async keepOnly(messages: Message[]): Promise<void> {
    let parent: string | null = null;
    for (const { role, content, thinking } of messages) {
      const copy: Message | null = await app.try(() => api.addMessage(this.id, { parent, role, content, ...(thinking ? { thinking } : {}) }));
      if (!copy) return;
      this.show(copy);
      parent = copy.id;
    }
  }
  /// So many more answers to a question, each with a seed of its own; at temperature 0 one would have but one.
  async sample(parent: string, count: number, wish: Omit<AnswerRequest, 'parent'>): Promise<void> {
    const { seed = Math.floor(Math.random() * 2 ** 52) } = this.settings();
    const first = seed + this.childrenOf(parent).length;
    const temperature = wish.settings?.temperature === 0 && count > 1 ? { temperature: 0.6 } : {};
    for (let i = 0; i < count; ++i)
      if (!await this.answer({ ...wish, parent, settings: { ...this.settings(), ...wish.settings, ...temperature, seed: first + i } })) return;
  }
  async stopAll(messages: Message[]): Promise<void> {
    for (const { id } of messages) await app.try(() => api.stop(id));
  }
  async stop(): Promise<void> {
    const message = this.running;
    if (message) await app.try(() => api.stop(message.id));
  }
  async answerNow(message: Message): Promise<void> {
    await app.try(() => api.answerNow(message.id));
  }

  childrenOf(parent: string | null): Message[] {
    return childrenOf(this.messages, parent);
  }
  siblings(message: Message): Message[] {
    return this.childrenOf(message.parent);
  }
  async turnTo(id: string): Promise<void> {
    ++this.changes;
    const leaf = newestLeaf(this.messages, id);
    if (this.chat) this.chat.leaf = leaf;
    await app.try(() => api.changeChat(this.id, { leaf }));
  }
  async remove(message: Message): Promise<void> {
    if ((await app.try(() => api.deleteMessage(message.id))) === null) return;
    ++this.changes;
    const others = this.siblings(message).filter((m) => m.id !== message.id);
    for (const id of branch(this.messages, message.id)) this.messages.delete(id);
    const next = others.at(-1)?.id ?? message.parent;
    if (next !== null) await this.turnTo(next);
  }
  async change(fields: Partial<Chat>): Promise<void> {
    ++this.changes;
    if (this.chat) Object.assign(this.chat, fields);
    await app.change(this.id, fields);
  }
}
