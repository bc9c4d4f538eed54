// The words of the page. A language is one file that has every key of en.ts; {name} is filled in.
import { de } from './de';
import { en } from './en';

export type Key = keyof typeof en;
export type Texts = Record<Key, string>;
export type Language = 'en' | 'de';

export const languages: Record<Language, { name: string; texts: Texts }> = {
  en: { name: 'English', texts: en },
  de: { name: 'Deutsch', texts: de },
};

let current = $state<Language>('en');

export function browserLanguage(): Language {
  for (const wish of navigator.languages ?? [navigator.language]) {
    const short = wish.slice(0, 2).toLowerCase();
    if (short in languages) return short as Language;
  }
  return 'en';
}

export function setLanguage(language: Language): void {
  current = language;
  document.documentElement.lang = language;
}
export const language = (): Language => current;

/// The words for `key`, with {n} and the like replaced by `fields`.
export function t(key: Key, fields: Record<string, string | number> = {}): string {
  return languages[current].texts[key].replace(/\{(\w+)\}/g, (_, name: string) => String(fields[name] ?? ''));
}

export const number = (n: number, digits = 0): string =>
  n.toLocaleString(current, { maximumFractionDigits: digits, minimumFractionDigits: digits });

export const time = (ms: number): string =>
  new Date(ms).toLocaleString(current, { dateStyle: 'medium', timeStyle: 'short' });

export const day = (ms: number): string => new Date(ms).toLocaleDateString(current, { dateStyle: 'long', timeZone: 'UTC' });

/// "0.4 s", "12 s", "3:05 min".
export function duration(ms: number): string {
  const s = ms / 1000;
  if (s < 10) return `${number(s, 1)} s`;
  if (s < 60) return `${number(Math.floor(s))} s`;
  return `${Math.floor(s / 60)}:${String(Math.floor(s % 60)).padStart(2, '0')} min`;
}

export function bytes(n: number): string {
  if (n < 1e6) return n < 1e3 ? `${number(n)} B` : `${number(n / 1e3, n < 1e4 ? 1 : 0)} kB`;
  return n < 1e9 ? `${number(n / 1e6)} MB` : `${number(n / 1e9, 1)} GB`;
}
