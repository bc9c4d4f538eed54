// Keys that work everywhere. What they do is listed in settings/Shortcuts.svelte from this table.
import { app } from './app.svelte';
import type { Key } from './texts/texts.svelte';

interface Shortcut {
  keys: string;  // as shown; Mod is Ctrl, or Command on a Mac
  what: Key;
  run?: () => void;
}

const mac = /Mac|iP/.test(navigator.platform);
export const shown = (keys: string): string[] => keys.replace('Mod', mac ? '⌘' : 'Ctrl').split('+');

function step(by: number): void {
  const at = app.view.kind === 'chat' ? app.chats.findIndex((c) => c.id === (app.view as { id: string | null }).id) : -1;
  const chat = app.chats[Math.max(0, Math.min(app.chats.length - 1, at + by))];
  if (chat) app.go({ kind: 'chat', id: chat.id });
}

export const shortcuts: Shortcut[] = [
  { keys: 'Enter', what: 'key_send' },
  { keys: 'Shift+Enter', what: 'key_line' },
  { keys: 'Escape', what: 'key_stop' },
  { keys: 'Mod+K', what: 'key_search', run: () => (app.dialog = 'search') },
  { keys: 'Mod+Shift+O', what: 'key_new', run: () => { app.go({ kind: 'chat', id: null }); focusComposer(); } },
  { keys: 'Mod+B', what: 'key_sidebar', run: () => (app.sidebar = !app.sidebar) },
  { keys: 'Alt+ArrowUp', what: 'key_previous', run: () => step(-1) },
  { keys: 'Alt+ArrowDown', what: 'key_next', run: () => step(1) },
  { keys: 'Mod+Shift+I', what: 'key_incognito', run: () => app.go({ kind: 'incognito' }) },
  { keys: 'Mod+,', what: 'key_settings', run: () => (app.dialog = 'settings') },
  { keys: 'Mod+/', what: 'key_shortcuts', run: () => (app.dialog = 'shortcuts') },
];

export function focusComposer(): void {
  requestAnimationFrame(() => document.getElementById('composer')?.focus());
}

const pressed = (event: KeyboardEvent): string =>
  [event.ctrlKey || event.metaKey ? 'Mod' : '', event.altKey ? 'Alt' : '', event.shiftKey && event.key !== '/' ? 'Shift' : '',
    event.key.length === 1 ? event.key.toUpperCase() : event.key].filter(Boolean).join('+');

export function shortcut(event: KeyboardEvent): void {
  const keys = pressed(event);
  const found = shortcuts.find((s) => s.run && s.keys === keys);
  if (!found || event.isComposing) return;
  event.preventDefault();
  found.run!();
}
