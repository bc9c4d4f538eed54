// For work on the page without a model: a server of /app/api/ in memory, part of `npm run dev` and `npm run preview`
// only. Answers are made up; FATHOM_URL=http://... passes everything on to a real server instead.
const kThought = 'The person asks a question. Let me think about what they need.\n\nFirst, the *plain* facts. Then an example: $a^2 + b^2 = c^2$.\n\n1. Read it again.\n2. Answer briefly.\n';
const kAnswer = `Light from the sun holds **all colours**. Air scatters short waves far more than long ones:

$$I \\propto \\frac{1}{\\lambda^4}$$

| Colour | Wavelength | Scattered |
| --- | ---: | ---: |
| violet | 400 nm | 9.4 |
| green | 530 nm | 3.0 |
| red | 700 nm | 1.0 |

A small program that counts it:

\`\`\`python
def scattered(nm: float) -> float:
    """How much more than red light."""
    return (700 / nm) ** 4

print(scattered(400))  # 9.38
\`\`\`

- At noon the way through the air is short, and we see the scattered *blue*.
- In the evening it is long: what is left is **red**.
`;
const state = { chats: new Map(), messages: new Map(), folders: [], templates: [], preferences: {}, listeners: new Set(), streams: new Map() };
const started = Date.now();
let counter = 0;
const newId = () => `m${(++counter).toString(36).padStart(6, '0')}`;
const tell = (change) => state.listeners.forEach((r) => r.write(`data: ${JSON.stringify(change)}\n\n`));

function touch(chat) {
  chat.updated = Date.now();
  chat.running = [...state.messages.values()].some((m) => m.chat === chat.id && m.status === 'running');
  tell({ type: 'chat', id: chat.id });
}

function answer(chat, { parent, prefix = {}, settings = {} }) {
  const message = { id: newId(), chat: chat.id, parent, role: 'assistant', content: prefix.content ?? '', thinking: prefix.thinking ?? '',
    status: 'running', created: Date.now(), model: 'DeepSeek-R1-Distill-Qwen-1.5B' };
  state.messages.set(message.id, message);
  chat.leaf = message.id;
  const log = [], open = new Set();
  state.streams.set(message.id, { log, open });
  const emit = (event) => {
    log.push(event);
    open.forEach((r) => send(r, log.length, event));
  };
  if (message.thinking) emit({ type: 'thinking', text: message.thinking });
  if (message.content) emit({ type: 'text', text: message.content });
  const thought = settings.thinking === false || message.content ? [] : (kThought.match(/\s*\S+\s*/g) ?? []);
  const words = kAnswer.slice(message.content.length).match(/\s*\S+\s*/g) ?? [];
  const finish = (status) => {
    clearInterval(timer);
    const spent = Date.now() - message.created;
    Object.assign(message, { status, info: { finish_reason: status, prompt_tokens: 46, cached_tokens: 32, thinking_tokens: 31, completion_tokens: 170,
      time_to_first_token_ms: 240, thinking_ms: spent / 3, total_ms: spent, tokens_per_second: 31.4, seed: 42, settings,
      model_file: 'DeepSeek-R1-Distill-Qwen-1.5B-Q4_K_M.gguf', weights_id: '7f2c9e…', profile: 'int8', format: 'Q4_K_M' } });
    emit({ type: 'done', message });
    open.forEach((r) => r.end());
    touch(chat);
  };
  const timer = setInterval(() => {
    if (message.stopping) return finish('stopped');
    const word = thought.shift();
    if (word) message.thinking += word, emit({ type: 'thinking', text: word });
    else if (words.length > 0) {
      const text = words.shift();
      message.content += text;
      emit({ type: 'text', text });
    } else finish('done');
  }, Number(process.env.MOCK_MS ?? 30));
  message.now = () => (thought.length = 0);
  touch(chat);
  return message;
}
const send = (r, seq, event) => r.write(`id: ${seq}\ndata: ${JSON.stringify(event)}\n\n`);

const models = [
  { name: 'DeepSeek-R1-Distill-Qwen-1.5B', loaded: true, ctx: 8192, can_think: true, size_bytes: 1.1e9, format: 'Q4_K_M', profile: 'int8' },
  { name: 'SmolLM2-135M-Instruct', loaded: false, ctx: null, can_think: false, size_bytes: 9.3e7, format: 'Q4_1', profile: null },
];

const routes = [
  ['GET', /^state$/, () => ({ version: '0.1.0', login: false, models, default_model: models[0].name, counts: { chats: state.chats.size } })],
  ['GET', /^chats$/, (_m, _b, q) => ({ next: null, chats: [...state.chats.values()]
    .filter((c) => !c.deleted && c.archived === (q.get('archived') === '1') && (!q.get('folder') || c.folder === q.get('folder')))
    .sort((a, b) => b.pinned - a.pinned || b.updated - a.updated) })],
  ['POST', /^chats$/, (_m, body) => {
    const chat = { id: newId(), title: '', folder: null, pinned: false, archived: false, tags: [], system: null, settings: {}, leaf: null,
      created: Date.now(), updated: Date.now(), running: false, ...body };
    state.chats.set(chat.id, chat);
    touch(chat);
    return chat;
  }],
  ['GET', /^chats\/(\w+)$/, ([, id]) => state.chats.get(id) && { ...state.chats.get(id), messages: [...state.messages.values()].filter((m) => m.chat === id) }],
  ['PATCH', /^chats\/(\w+)$/, ([, id], body) => (touch(Object.assign(state.chats.get(id), body)), state.chats.get(id))],
  ['DELETE', /^chats\/(\w+)$/, ([, id]) => (touch(Object.assign(state.chats.get(id), { deleted: true })), { deleted: true })],
  ['POST', /^chats\/(\w+)\/restore$/, ([, id]) => (touch(Object.assign(state.chats.get(id), { deleted: false })), state.chats.get(id))],
  ['POST', /^chats\/(\w+)\/messages$/, ([, id], body) => {
    const chat = state.chats.get(id), message = { id: newId(), chat: id, thinking: '', status: 'done', created: Date.now(), ...body };
    state.messages.set(message.id, message);
    chat.leaf = message.id;
    if (!chat.title) chat.title = message.content.slice(0, 60);
    touch(chat);
    return message;
  }],
  ['POST', /^chats\/(\w+)\/answers$/, ([, id], body) => answer(state.chats.get(id), body)],
  ['POST', /^messages\/(\w+)\/stop$/, ([, id]) => Object.assign(state.messages.get(id), { stopping: true })],
  ['POST', /^messages\/(\w+)\/answer-now$/, ([, id]) => (state.messages.get(id).now(), { ok: true })],
  ['DELETE', /^messages\/(\w+)$/, ([, id]) => (state.messages.delete(id), { deleted: true })],
  ['GET', /^messages\/(\w+)\/tokens$/, () => ({ total: 4, texts: ['Light', ' is', ' bent', ' scattered', '.\n'],
    tokens: [[0, 0, -0.02, 0, -0.02], [0, 1, -0.4, 1, -0.4, 2, -1.6], [0, 3, -2.1, 2, -0.3, 3, -2.1], [0, 4, -0.1, 4, -0.1]] })],
  ['GET', /^messages\/(\w+)\/prompt$/, () => ({ prompt: '<|begin_of_sentence|><|User|>Why is the sky blue?<|Assistant|><think>\n', tokens: 46 })],
  ['POST', /^count$/, (_m, body) => ({ tokens: 40 + Math.ceil(body.content.length / 4), ctx: 8192 })],
  ['GET', /^search$/, (_m, _b, q) => ({ hits: [...state.messages.values()].filter((m) => m.content.toLowerCase().includes(q.get('q').toLowerCase()))
    .map((m) => ({ chat: m.chat, title: state.chats.get(m.chat).title, message: m.id, where: 'content',
      snippet: m.content.slice(0, 100).replace(new RegExp(q.get('q').replace(/\W/g, '.'), 'gi'), '\u0001$&\u0002') })) })],
  ['GET', /^folders$/, () => ({ folders: state.folders })],
  ['POST', /^folders$/, (_m, body) => (state.folders.push({ id: newId(), position: 0, ...body }), state.folders.at(-1))],
  ['GET', /^preferences$/, () => state.preferences],
  ['PATCH', /^preferences$/, (_m, body) => Object.assign(state.preferences, body)],
  ['GET', /^templates$/, () => ({ templates: state.templates })],
  ['POST', /^templates$/, (_m, body) => (state.templates.push({ id: newId(), ...body }), state.templates.at(-1))],
];

function stream(response, id, from) {
  const found = state.streams.get(id);
  response.writeHead(200, { 'Content-Type': 'text/event-stream' });
  found.log.forEach((event, i) => i >= from && send(response, i + 1, event));
  if (state.messages.get(id).status !== 'running') return response.end();
  found.open.add(response);
  response.on('close', () => found.open.delete(response));
}

async function handle(request, response, next) {
  const url = new URL(request.url, 'http://x');
  const [, command] = /^\/models\/(load|unload|reload)$/.exec(url.pathname) ?? [];
  if (command) {
    for await (const piece of request) models.find((m) => m.name === JSON.parse(piece).model).loaded = command !== 'unload';
    return setTimeout(() => response.end('{"success": true}'), 700);
  }
  if (!url.pathname.startsWith('/app/api/')) return next();
  const path = url.pathname.slice('/app/api/'.length);
  if (path === 'events') {
    response.writeHead(200, { 'Content-Type': 'text/event-stream' });
    response.write(`data: ${JSON.stringify({ type: 'hello', started })}\n\n`);
    state.listeners.add(response);
    return response.on('close', () => state.listeners.delete(response));
  }
  const streamed = /^messages\/(\w+)\/stream$/.exec(path);
  if (streamed) return stream(response, streamed[1], Number(url.searchParams.get('from') ?? 0));
  let text = '';
  for await (const piece of request) text += piece;
  if (path === 'text') {
    response.writeHead(200, { 'Content-Type': 'application/json' });
    return response.end(JSON.stringify({ name: url.searchParams.get('name'), text, tokens: Math.ceil(text.length / 4) }));
  }
  for (const [method, pattern, call] of routes) {
    const found = request.method === method && pattern.exec(path);
    if (!found) continue;
    const result = call(found, text ? JSON.parse(text) : {}, url.searchParams);
    if (!result) break;
    response.writeHead(200, { 'Content-Type': 'application/json' });
    return response.end(JSON.stringify(result));
  }
  response.writeHead(404, { 'Content-Type': 'application/json' });
  response.end(JSON.stringify({ error: { message: `no such path: ${path}`, type: 'invalid_request_error', param: null, code: null } }));
}

export function mockServer() {
  const real = process.env.FATHOM_URL;
  const passed = { target: real, changeOrigin: false };  // the server answers a page of its own origin only
  const proxy = { '/app/api': passed, '/v1': passed, '/models/': passed, '/tokenize': passed };
  return {
    name: 'mock-server',
    config: () => (real ? { server: { proxy }, preview: { proxy } } : {}),
    configureServer: (server) => void (real || server.middlewares.use(handle)),
    configurePreviewServer: (server) => void (real || server.middlewares.use(handle)),
  };
}
