// Conversations in and out.
import { api } from '../api/client';
import { app } from '../app.svelte';
import { t } from '../texts/texts.svelte';
import type { Item } from '../ui/Menu.svelte';

export function download(url: string, name = ''): void {
  const link = document.createElement('a');
  link.href = url;
  link.download = name;
  link.click();
}

export function exportItems(chat: string): Item[] {
  const item = (label: string, format: 'md' | 'json' | 'html', thinking: boolean): Item =>
    ({ label, icon: 'export', run: () => download(api.exportUrl(chat, format, thinking)) });
  return [
    item(t('export_md'), 'md', true), item(t('export_md_plain'), 'md', false), item(t('export_html'), 'html', true),
    item(t('export_json'), 'json', true),
  ];
}

export async function importFile(file: Blob): Promise<void> {
  const result = await app.try(() => api.import(file));
  if (!result) return;
  app.say([t('imported', { n: result.chats }), ...(result.left_out > 0 ? [t('import_left_out', { n: result.left_out })] : [])].join(' '));
  await app.try(() => app.loadChats());
}
