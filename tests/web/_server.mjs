// `fathom serve` with a store of its own for the page's tests, and Chromium. Waits are for what is seen, never for a time.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before } from 'node:test';

const root = new URL('../..', import.meta.url).pathname;
const require = createRequire(join(root, 'web/package.json'));
export const { chromium } = require('playwright-core');
const axePath = require.resolve('axe-core/axe.min.js');

// Opens a thinking that the small model never closes by itself; the app's switch may leave it out.
const kTemplate = '{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}' +
  '{% if add_generation_prompt %}<|im_start|>assistant\n{% if enable_thinking is not defined or enable_thinking %}<think>\n{% endif %}' +
  '{% endif %}{# </think> #}';

/// Who serves: the program, or the address in FATHOM_URL (for work on the page with a server of one's own).
export class Server {
  folder = mkdtempSync(join(tmpdir(), 'fathom-web-'));
  url = process.env.FATHOM_URL ?? '';

  constructor({ thinks = false, second = false, key = '', environment = {} } = {}) {
    this.environment = environment;
    const models = [process.env.FATHOM_MODEL];
    if (second && !process.env.FATHOM_URL) {  // the same weights under another name
      models.push(join(this.folder, 'second.gguf'));
      symlinkSync(process.env.FATHOM_MODEL, models[1]);
    }
    this.options = ['serve', ...models, '--ctx', '2048', '--seed', '1', '--access-log', 'off'];
    this.key = key;  // the only one; ''
    if (key) {
      this.keys = join(this.folder, 'keys');
      writeFileSync(this.keys, `${key}\n`, { mode: 0o600 });
      this.options.push('--keys', this.keys);
    }
    if (!thinks) return;
    const template = join(this.folder, 'thinks.jinja');
    writeFileSync(template, kTemplate);
    this.options.push('--template', template);
  }
  async start() {
    if (process.env.FATHOM_URL) return this;
    const port = this.url ? new URL(this.url).port : '0';
    this.process = spawn(process.env.FATHOM_BIN, [...this.options, '--port', port],
      { stdio: ['ignore', 'ignore', 'pipe'], env: { ...process.env, ...this.environment, FATHOM_HOME: this.folder } });
    this.url = await new Promise((resolve, reject) => {
      let said = '';
      this.process.stderr.on('data', (piece) => {
        said += piece;
        const found = /listening on (http:\/\/\S+)/.exec(said);
        if (found) resolve(found[1]);
      });
      this.process.on('exit', (code) => reject(new Error(`no server: exit code ${code}\n${said}`)));
    });
    return this;
  }
  async stop(signal = 'SIGTERM') {
    if (!this.process || this.process.exitCode !== null || this.process.signalCode !== null) return;
    const gone = new Promise((resolve) => this.process.once('exit', resolve));
    this.process.kill(signal);
    await gone;
  }
  async close() {
    await this.stop();
    rmSync(this.folder, { recursive: true, force: true });
  }
  async call(method, path, body) {
    const response = await fetch(`${this.url}/app/api/${path}`,
      { method, headers: { 'Content-Type': 'application/json', ...(this.key ? { Authorization: `Bearer ${this.key}` } : {}) }, ...(method === 'GET' ? {} : { body: JSON.stringify(body ?? {}) }) });
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
    return JSON.parse(text);
  }
  /// A chat with these messages, one after the other: [role, content, thinking?].
  async chat(fields, ...messages) {
    const chat = await this.call('POST', 'chats', fields);
    let parent = null;
    for (const [role, content, thinking] of messages)
      parent = (await this.call('POST', `chats/${chat.id}/messages`, { parent, role, content, ...(thinking ? { thinking } : {}) })).id;
    return chat;
  }
}

export const launch = () => chromium.launch({ executablePath: process.env.FATHOM_CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox'] });

/// A page in a context of its own. `page.wrong` collects errors: of scripts, of the console, of the security policy.
export async function open(browser, url, { size = [1200, 800], dark = false, language = 'en-US', ...more } = {}) {
  const context = await browser.newContext({ viewport: { width: size[0], height: size[1] }, colorScheme: dark ? 'dark' : 'light',
    locale: language, reducedMotion: 'reduce', ...more });
  const page = await context.newPage();
  page.setDefaultTimeout(Number(process.env.FATHOM_PATIENCE_MS ?? 90_000));
  page.wrong = [];
  page.on('pageerror', (error) => page.wrong.push(String(error)));
  page.on('console', (message) => {
    if (message.type() === 'error' && !message.text().startsWith('Failed to load resource')) page.wrong.push(message.text());
  });
  page.on('response', (r) => {
    if (r.status() >= 400) page.wrong.push(`${r.request().method()} ${r.url()}: ${r.status()}`);
  });
  await page.goto(url);
  return page;
}

/// The frame of a module's tests: server and browser from its first test to its last, and after each test nothing may
/// have gone wrong on its pages but what `forgiven` matches. Returns visit(path or address, options of open()).
export function visits(server, { forgiven = null } = {}) {
  const pages = [];
  let browser;
  before(async () => {
    await server.start();
    browser = await launch();
  });
  after(async () => {
    await browser?.close();
    await server.close();
  });
  afterEach(async () => {
    const wrong = pages.flatMap((page) => page.wrong).filter((line) => !forgiven?.test(line));
    for (const page of pages.splice(0)) await page.context().close();
    assert.deepEqual(wrong, []);
  });
  return async (path = '/', options = {}) => {
    const page = await open(browser, new URL(path, server.url).href, options);
    pages.push(page);
    return page;
  };
}

/// What axe finds wrong with the page; it needs `bypassCSP`.
export async function findings(page) {
  await page.evaluate(readFileSync(axePath, 'utf8'));
  const { violations } = await page.evaluate(() => globalThis.axe.run({ resultTypes: ['violations'] }));
  return violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.target.join(' ')).slice(0, 4).join(' | ')}`);
}
