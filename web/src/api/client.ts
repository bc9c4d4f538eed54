// Calls of the server. A refusal becomes an ApiError with the server's own words.
import type { TokenTable } from '../conversation/tokens';
import { gate } from './gate';
import type {
  Chat, ChatSettings, Folder, Hit, MemoryRoom, Message, Preferences, Pull, Recommended, Role, ServerState, Template,
} from './types';

export class ApiError extends Error {
  constructor(message: string, readonly status: number, readonly retryAfter = 0) {  // s; 0: nothing is said of it
    super(message);
  }
}

const kLogin = '/app/api/login';

/// The server could not be reached.
export class Unreachable extends Error {}

export async function request(path: string, init: RequestInit = {}): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(path, init);
  } catch (error) {
    if (error instanceof DOMException && error.name === 'AbortError') throw error;
    throw new Unreachable(String(error));
  }
  if (response.ok) return response;
  const text = await response.text().catch(() => '');
  let message = text.slice(0, 500) || `${response.status} ${response.statusText}`;
  try {
    message = (JSON.parse(text) as { error: { message: string } }).error.message ?? message;
  } catch {
    // Not from our server: its text says what there is to say.
  }
  if (response.status === 401 && path !== kLogin) gate.shut();
  throw new ApiError(message, response.status, Number(response.headers.get('Retry-After') ?? 0));
}

async function call<T>(method: string, path: string, body?: unknown): Promise<T> {
  const init: RequestInit = { method, headers: { 'Content-Type': 'application/json' } };
  if (method !== 'GET') init.body = JSON.stringify(body ?? {});
  return (await request(`/app/api/${path}`, init)).json() as Promise<T>;
}

const query = (fields: Record<string, string | number | boolean | null | undefined>): string => {
  const out = new URLSearchParams();
  for (const [key, value] of Object.entries(fields))
    if (value !== null && value !== undefined) out.set(key, typeof value === 'boolean' ? (value ? '1' : '0') : String(value));
  return out.toString();
};

export interface Page {
  chats: Chat[];
  next: number | null;
}
export interface AnswerRequest {
  parent: string;
  model?: string;
  settings?: { [Key in keyof ChatSettings]: ChatSettings[Key] | null };  // null: without the chat's
  prefix?: { thinking?: string; content?: string };
}

export type ModelCommand = 'load' | 'unload' | 'reload';

export const api = {
  /// Throws ApiError 401 for a wrong key, 429 after too many of them.
  logIn: (key: string) => call<unknown>('POST', 'login', { key }),
  logOut: () => call<unknown>('POST', 'logout'),
  state: () => call<ServerState>('GET', 'state'),
  chats: (filter: { archived?: boolean; folder?: string | null; limit?: number; before?: number | null }) =>
    call<Page>('GET', `chats?${query(filter)}`),
  chat: (id: string) => call<Chat & { messages: Message[] }>('GET', `chats/${id}`),
  newChat: (fields: Partial<Chat>) => call<Chat>('POST', 'chats', fields),
  changeChat: (id: string, fields: Partial<Chat>) => call<Chat>('PATCH', `chats/${id}`, fields),
  deleteChat: (id: string, forGood = false) => call<unknown>('DELETE', `chats/${id}${forGood ? '?for_good=1' : ''}`),
  restoreChat: (id: string) => call<Chat>('POST', `chats/${id}/restore`),

  addMessage: (chat: string, fields: { parent: string | null; role: Role; content: string; thinking?: string }) =>
    call<Message>('POST', `chats/${chat}/messages`, fields),
  answer: (chat: string, fields: AnswerRequest) => call<Message>('POST', `chats/${chat}/answers`, fields),
  stop: (message: string) => call<Message>('POST', `messages/${message}/stop`),
  answerNow: (message: string) => call<unknown>('POST', `messages/${message}/answer-now`),
  deleteMessage: (message: string) => call<unknown>('DELETE', `messages/${message}`),
  prompt: (message: string) => call<{ prompt: string; tokens: number }>('GET', `messages/${message}/prompt`),
  tokens: (message: string) => call<TokenTable>('GET', `messages/${message}/tokens`),
  count: (fields: { chat?: string; parent?: string | null; content: string; model?: string }) =>
    call<{ tokens: number; ctx: number }>('POST', 'count', fields),

  search: async (q: string, limit = 50) => (await call<{ hits: Hit[] }>('GET', `search?${query({ q, limit })}`)).hits,
  folders: async () => (await call<{ folders: Folder[] }>('GET', 'folders')).folders,
  newFolder: (name: string) => call<Folder>('POST', 'folders', { name }),
  changeFolder: (id: string, fields: Partial<Folder>) => call<Folder>('PATCH', `folders/${id}`, fields),
  deleteFolder: (id: string) => call<unknown>('DELETE', `folders/${id}`),
  templates: async () => (await call<{ templates: Template[] }>('GET', 'templates')).templates,
  newTemplate: (fields: { name: string; text: string }) => call<Template>('POST', 'templates', fields),
  changeTemplate: (id: string, fields: Partial<Template>) => call<Template>('PATCH', `templates/${id}`, fields),
  deleteTemplate: (id: string) => call<unknown>('DELETE', `templates/${id}`),
  preferences: () => call<Preferences>('GET', 'preferences'),
  changePreferences: (fields: Preferences) => call<Preferences>('PATCH', 'preferences', fields),

  pulls: async () => (await call<{ pulls: Pull[] }>('GET', 'models/pulls')).pulls,
  pull: (repository: string, file = '') => call<Pull>('POST', 'models/pulls', file ? { repository, file } : { repository }),
  endPull: (id: string) => call<unknown>('DELETE', `models/pulls/${id}`),
  recommended: () => call<{ models: Recommended[]; memory: MemoryRoom; disk_free_bytes: number }>('GET', 'models/recommended'),
  removeModel: (name: string) => call<{ freed_bytes: number }>('DELETE', `models?${query({ name })}`),
  /// Answers when it is done.
  model: async (command: ModelCommand, model: string) =>
    void (await request(`/models/${command}`, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ model }) })),
  promptTokens: async (messages: { role: string; content: string }[], model: string) =>
    ((await (await request('/tokenize', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ messages, model }) }))
      .json()) as { count: number }).count,
  fileText: async (file: Blob, name: string, model: string | null) =>
    (await request(`/app/api/text?${query({ name, model })}`, { method: 'POST', headers: { 'Content-Type': 'application/octet-stream' }, body: file }))
      .json() as Promise<{ name: string; text: string; tokens: number }>,
  exportUrl: (chat: string, format: 'md' | 'json' | 'html', thinking: boolean) =>
    `/app/api/chats/${chat}/export?${query({ format, thinking })}`,
  exportAllUrl: () => '/app/api/export?format=json',
  import: async (file: Blob) =>
    (await request('/app/api/import', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: file }))
      .json() as Promise<{ chats: number; left_out: number }>,
};
