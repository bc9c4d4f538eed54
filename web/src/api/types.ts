// What the server's /app/api/ speaks (docs/app-api.md).

export interface ChatSettings {
  model?: string;
  thinking?: boolean;
  effort?: Effort;
  budget?: number;
  temperature?: number;
  top_p?: number;
  seed?: number;
  max_tokens?: number;
}
export type Effort = 'low' | 'medium' | 'high';

export interface Chat {
  id: string;
  title: string;
  folder: string | null;
  pinned: boolean;
  archived: boolean;
  tags: string[];
  system: string | null;
  settings: ChatSettings;
  leaf: string | null;
  created: number;
  updated: number;
  running: boolean;
}

export type Role = 'user' | 'assistant' | 'system';
export type Status = 'done' | 'running' | 'stopped' | 'failed';

export interface Info {
  finish_reason?: string;
  prompt_tokens?: number;
  cached_tokens?: number;
  thinking_tokens?: number;
  completion_tokens?: number;
  time_to_first_token_ms?: number;
  thinking_ms?: number;
  total_ms?: number;
  tokens_per_second?: number;
  energy_j?: number;
  energy_share?: number;
  energy_source?: string;
  seed?: number;
  settings?: ChatSettings;
  model_file?: string;
  weights_id?: string;
  profile?: string;
  format?: string;
}

export interface Message {
  id: string;
  chat: string;
  parent: string | null;
  role: Role;
  content: string;
  thinking: string | null;
  status: Status;
  error?: string | { message: string } | null;
  created: number;
  model?: string | null;
  info?: Info | null;
}

export type Fits = 'now' | 'after_unloading' | 'no';

export interface Model {
  name: string;
  loaded: boolean;
  size_bytes: number;
  removable: boolean;
  base?: string;  // of an adapter
  // Of others:
  memory?: { need_bytes?: number; least_bytes?: number; weights_bytes?: number; ctx?: number; fits?: Fits; problem?: string };
  // Of loaded models only:
  ctx?: number | null;
  can_think?: boolean;
  format?: string;
  profile?: string | null;
}

export interface MemoryRoom {
  free_bytes: number;
  reclaimable_bytes: number;  // more, once all models in memory are unloaded
}

export interface ServerState {
  version: string;
  login: boolean;  // it has keys: who uses the page has logged in
  models: Model[];
  default_model: string;
  memory: MemoryRoom;
  pulls: boolean;  // whether this page may pull and remove models
  counts: { chats: number };
}

export interface Pull {
  id: string;
  repository: string;
  file: string;
  state: 'running' | 'choose' | 'done' | 'failed' | 'cancelled';
  done_bytes: number;
  total_bytes: number;  // 0: not known yet
  bytes_per_second: number;
  seconds_left: number | null;
  notices: string[];
  error: string | null;
  files: { file: string; name: string; size_bytes: number; parts: number }[];  // to choose from
  model: string | null;  // that it made
}

export interface Recommended {
  id: string;
  name: string;
  repository: string;
  file: string;
  licence: string;
  good_at: string;
  thinks: boolean;
  parameters: number;
  size_bytes: number;
  memory_bytes: number;
  fits: 'now' | 'after_unloading' | 'no_memory' | 'no_disk';
  best: boolean;
  model: string | null;  // of the server, where it is installed
}

export interface Folder {
  id: string;
  name: string;
  position: number;
}

export interface Template {
  id: string;
  name: string;
  text: string;
}

export interface Preferences {
  language?: 'en' | 'de' | 'auto';
  theme?: 'light' | 'dark' | 'auto';
  instructions?: string;
  settings?: ChatSettings;
  [key: string]: unknown;
}

export interface Hit {
  chat: string;
  title: string;
  message: string | null;
  where: 'title' | 'content' | 'thinking';
  snippet: string;
}

/// One event of an answer that is being written.
export interface AnswerEvent {
  type: 'prompt' | 'thinking' | 'text' | 'state' | 'done' | 'failed';
  text?: string;
  done?: number;   // of 'prompt': tokens read so far, of `total`
  total?: number;
  message?: Message;
}

/// One event of /app/api/events.
export interface Change {
  type: 'hello' | 'chat' | 'message' | 'gone' | 'folders' | 'preferences' | 'models';
  id?: string;
  chat?: string;
  started?: number;
}
