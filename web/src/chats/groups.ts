// The list's headings: pinned, then by age.
import type { Chat } from '../api/types';
import type { Key } from '../texts/texts.svelte';

export interface Group {
  name: Key;
  chats: Chat[];
}

export function grouped(chats: Chat[], now: number): Group[] {
  const midnight = new Date(now).setHours(0, 0, 0, 0), day = 86_400_000;
  const nameOf = (chat: Chat): Key =>
    chat.pinned ? 'pinned'
      : chat.updated >= midnight ? 'today'
        : chat.updated >= midnight - day ? 'yesterday'
          : chat.updated >= midnight - 7 * day ? 'this_week' : 'older';
  const groups: Group[] = [];
  for (const name of ['pinned', 'today', 'yesterday', 'this_week', 'older'] as Key[]) {
    const own = chats.filter((c) => nameOf(c) === name);
    if (own.length > 0) groups.push({ name, chats: own });
  }
  return groups;
}
