// Models on their way from the hub, as the server tells: asked for once a second while one is running and somebody looks.
import { api, ApiError } from '../api/client';
import type { Pull } from '../api/types';
import { t } from '../texts/texts.svelte';

/// "40 s", "3:05 min", "2 h 10 min".
export function timeLeft(seconds: number): string {
  if (seconds < 60) return `${Math.ceil(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, '0')} min`;
  return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
}

/// How a person knows what is pulled.
export const pullName = (pull: { repository: string; file: string }): string =>
  pull.repository + (pull.file ? `:${pull.file}` : '');

const kEach = 1000;  // ms between two questions

export class Pulls {
  all = $state<Pull[]>([]);
  said = $state('');     // for screen readers: what began or ended, never how far it is
  problem = $state('');  // why the last wish was refused
  private states = new Map<string, Pull['state']>();
  private timer = 0;
  private watching = false;
  private known = false;  // what was there when the page came is not news
  private asked = 0;

  /// Until the function that it returns is called.
  watch(): () => void {
    this.watching = true;
    void this.refresh();
    return () => {
      this.watching = false;
      clearTimeout(this.timer);
    };
  }

  async refresh(): Promise<void> {
    clearTimeout(this.timer);
    const mine = ++this.asked;
    try {
      const all = await api.pulls();
      if (mine === this.asked) this.put(all);
    } catch {
      // The page says so when the server cannot be reached; the next question comes all the same.
    }
    clearTimeout(this.timer);
    if (this.watching && this.all.some((p) => p.state === 'running')) this.timer = window.setTimeout(() => void this.refresh(), kEach);
  }

  private put(all: Pull[]): void {
    for (const pull of all) {
      if (this.known && this.states.get(pull.id) !== pull.state) this.said = t(`pull_said_${pull.state}`, { name: pullName(pull) });
      this.states.set(pull.id, pull.state);
    }
    this.known = true;
    this.all = all;
  }

  /// Whether it has begun.
  begin = (repository: string, file = ''): Promise<boolean> => this.order(() => api.pull(repository, file));
  end = (pull: Pull): Promise<boolean> => this.order(() => api.endPull(pull.id));

  private async order(what: () => Promise<unknown>): Promise<boolean> {
    this.problem = '';
    try {
      await what();
      return true;
    } catch (error) {
      this.problem = error instanceof ApiError ? error.message : t('unreachable');
      return false;
    } finally {
      await this.refresh();
    }
  }
}
