// What the whole page shares: the server's state, the lists of chats and folders, where one is, and the connection.
import { api, ApiError, Unreachable } from './api/client';
import { followChanges } from './api/follow';
import { gate } from './api/gate';
import type { Change, Chat, ChatSettings, Folder, Model, Preferences, ServerState, Template } from './api/types';
import { browserLanguage, setLanguage, t, type Language } from './texts/texts.svelte';

export type View = { kind: 'chat'; id: string | null } | { kind: 'models' } | { kind: 'incognito' };
export type DialogName = 'search' | 'settings' | 'shortcuts' | 'templates' | 'chat-settings' | 'tree' | null;

interface Notice {
  text: string;
  action?: { label: string; run: () => void } | undefined;
  error: boolean;
}

function viewOf(hash: string): View {
  const [, kind, id] = hash.split('/');
  if (kind === 'c' && id) return { kind: 'chat', id };
  if (kind === 'models' || kind === 'incognito') return { kind };
  return { kind: 'chat', id: null };
}

class App {
  server = $state<ServerState | null>(null);
  chats = $state<Chat[]>([]);
  more = $state<number | null>(null);
  folders = $state<Folder[]>([]);
  templates = $state<Template[]>([]);
  preferences = $state<Preferences>({});
  view = $state<View>(viewOf(location.hash));
  dialog = $state<DialogName>(null);
  sidebar = $state(window.matchMedia('(min-width: 800px)').matches);
  online = $state(true);
  shut = $state(false);  // the server asks for a key
  failed = $state<string | null>(null);  // why the page could not start
  notice = $state<Notice | null>(null);
  folder = $state<string | null>(null);  // the only one shown
  archived = $state(false);
  title = $state('');  // of what is open, for the window
  draftSettings = $state<ChatSettings>({});  // of the chat that has not begun

  readonly model = $derived<Model | null>(this.modelNamed(this.server?.default_model));
  private noticeTimer = 0;
  private started: number | null = null;
  private listeners = new Set<(change: Change) => void>();

  modelNamed(name: string | null | undefined): Model | null {
    const models = this.server?.models ?? [];
    return models.find((m) => m.name === name) ?? models[0] ?? null;
  }

  async start(): Promise<void> {
    window.addEventListener('hashchange', () => (this.view = viewOf(location.hash)));
    gate.onShut = () => (this.shut = true);
    this.applyPreferences();
    await this.load();
    void followChanges((c) => this.changed(c), (now) => this.reached(now), new AbortController().signal);
  }

  private async load(): Promise<void> {
    try {
      const [server, folders, preferences, templates] =
        await Promise.all([api.state(), api.folders(), api.preferences(), api.templates(), this.loadChats()]);
      Object.assign(this, { server, folders, preferences, templates, failed: null });
      this.applyPreferences();
    } catch (error) {
      if (this.server === null && !this.shut) this.failed = error instanceof Error ? error.message : String(error);
    }
  }

  /// Throws what api.logIn() throws. The page is then where it was, and up to date.
  async logIn(key: string): Promise<void> {
    await api.logIn(key);
    this.shut = false;
    gate.open();
    await this.load();
    this.listeners.forEach((listener) => listener({ type: 'hello' }));
  }
  /// Nothing that was read stays in this page.
  async logOut(): Promise<void> {
    if (await this.try(() => api.logOut())) location.reload();
  }

  /// What is in memory, after this page has changed it.
  async refresh(): Promise<void> {
    const server = await this.try(() => api.state());
    if (server) this.server = server;
  }

  async loadChats(): Promise<void> {
    const page = await api.chats({ archived: this.archived, folder: this.folder, limit: 200 });
    this.chats = page.chats;
    this.more = page.next;
  }
  async loadMoreChats(): Promise<void> {
    const page = await api.chats({ archived: this.archived, folder: this.folder, limit: 200, before: this.more });
    const known = new Set(this.chats.map((c) => c.id));
    this.chats.push(...page.chats.filter((c) => !known.has(c.id)));
    this.more = page.next;
  }

  applyPreferences(): void {
    const { language, theme } = this.preferences;
    setLanguage(language && language !== 'auto' ? (language as Language) : browserLanguage());
    document.documentElement.dataset.theme = theme ?? 'auto';
  }
  async changePreferences(fields: Preferences): Promise<void> {
    Object.assign(this.preferences, fields);
    this.applyPreferences();
    await this.try(() => api.changePreferences(fields));
  }

  onChange(listener: (change: Change) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  private reached(now: boolean): void {
    const back = now && !this.online;
    this.online = now;
    if (back || (now && this.failed)) {
      void this.load();
      this.listeners.forEach((listener) => listener({ type: 'hello' }));
    }
  }

  private changed(change: Change): void {
    if (change.type === 'hello') {
      if (this.started !== null && this.started !== change.started) {
        this.say(t('server_restarted'));
        void this.load();
      }
      this.started = change.started ?? null;
    } else if (change.type === 'folders') void api.folders().then((folders) => (this.folders = folders));
    else if (change.type === 'models') void this.refresh();
    else if (change.type === 'preferences')
      void api.preferences().then((preferences) => {
        this.preferences = preferences;
        this.applyPreferences();
      });
    else if (change.type === 'chat' || (change.type === 'gone' && !change.chat)) this.reloadSoon();
    this.listeners.forEach((listener) => listener(change));
  }
  private reloadTimer = 0;
  private reloadSoon(): void {
    clearTimeout(this.reloadTimer);
    this.reloadTimer = window.setTimeout(() => void this.loadChats().catch(() => undefined), 60);
  }

  go(view: View): void {
    const hash = view.kind === 'chat' ? (view.id ? `#/c/${view.id}` : '#/') : `#/${view.kind}`;
    if (location.hash !== hash) history.pushState(null, '', hash);
    this.view = view;
    if (!window.matchMedia('(min-width: 800px)').matches) this.sidebar = false;
  }

  say(text: string, action?: Notice['action'], error = false): void {
    clearTimeout(this.noticeTimer);
    this.notice = { text, action, error };
    this.noticeTimer = window.setTimeout(() => (this.notice = null), action || error ? 9000 : 4000);
  }

  /// Does it and tells what went wrong; null then.
  async try<T>(what: () => Promise<T>): Promise<T | null> {
    try {
      return await what();
    } catch (error) {
      if (error instanceof Unreachable) this.say(t('unreachable'), undefined, true);
      else if (error instanceof ApiError) {
        if (error.status !== 401) this.say(error.message, undefined, true);  // the login says it
      }
      else throw error;
      return null;
    }
  }

  /// The newer of two: an event that comes late does not undo what was just done.
  put(chat: Chat): void {
    const at = this.chats.findIndex((c) => c.id === chat.id);
    const shown = chat.archived === this.archived && (this.folder === null || chat.folder === this.folder);
    if (at >= 0) this.chats.splice(at, 1);
    if (shown) this.chats.push(chat);
    this.chats.sort((a, b) => Number(b.pinned) - Number(a.pinned) || b.updated - a.updated);
  }
  async change(id: string, fields: Partial<Chat>): Promise<void> {
    const chat = await this.try(() => api.changeChat(id, fields));
    if (chat) this.put(chat);
  }
  async remove(chat: Chat): Promise<void> {
    if ((await this.try(() => api.deleteChat(chat.id))) === null) return;
    this.chats = this.chats.filter((c) => c.id !== chat.id);
    if (this.view.kind === 'chat' && this.view.id === chat.id) this.go({ kind: 'chat', id: null });
    const restore = async () => {
      const back = await this.try(() => api.restoreChat(chat.id));
      if (back) this.put(back);
      this.notice = null;
    };
    this.say(t('chat_deleted', { title: chat.title || t('untitled') }), { label: t('undo'), run: () => void restore() });
  }
}

export const app = new App();
