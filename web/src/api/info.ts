// What the server tells of an answer, without what is not of its type: stores hold what older servers imported.
import type { Info } from './types';

type Kind = 'number' | 'string' | 'object';
const kTypes: Record<keyof Info, Kind> = {
  finish_reason: 'string', prompt_tokens: 'number', cached_tokens: 'number', thinking_tokens: 'number', completion_tokens: 'number',
  time_to_first_token_ms: 'number', thinking_ms: 'number', total_ms: 'number', tokens_per_second: 'number', energy_j: 'number',
  energy_share: 'number', energy_source: 'string', seed: 'number', settings: 'object', model_file: 'string', weights_id: 'string',
  profile: 'string', format: 'string',
};

const fits = (value: unknown, kind: Kind): boolean =>
  typeof value === kind && value !== null && (kind !== 'number' || (value as number) >= 0) && (kind !== 'object' || !Array.isArray(value));

/// Null where there is nothing.
export function checkedInfo(info: unknown): Info | null {
  if (typeof info !== 'object' || info === null) return null;
  const fields = Object.entries(kTypes).map(([key, kind]) => [key, (info as Record<string, unknown>)[key], kind] as const);
  const known = fields.filter(([, value, kind]) => fits(value, kind)).map(([key, value]) => [key, value] as const);
  return known.length > 0 ? Object.fromEntries(known) as Info : null;
}
