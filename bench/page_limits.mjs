// What the page in the browser costs: first paint, a long chat that is scrolled, a token of an answer that streams.
//
// Usage: FATHOM_BIN=fathom FATHOM_MODEL=model.gguf [FATHOM_CHROMIUM=/usr/bin/chromium] node bench/page_limits.mjs [first|scroll|stream ...]
// Needs web/node_modules (npm ci in web/). The answer is made up within the page, so that the model's speed plays no part;
// all else comes from the server. CPU is the time of the page's main thread on a processor (CDP, ThreadTime); tasks are
// its tasks by the clock (TaskDuration), which others on a busy machine lengthen.
import { readFileSync } from 'node:fs';
import { cpus, loadavg } from 'node:os';
import { launch, Server } from '../tests/web/_server.mjs';

const kFrames = 300, kStep = 240;                      // pixels a frame
const kLengths = [1_000, 5_000, 20_000], kTokens = 250; // tokens there, tokens measured behind them
const kPause = 20;                                     // ms between tokens: 50 a second
const wanted = (what) => process.argv.length < 3 || process.argv.includes(what);
const line = (what, value) => console.log(`${what.padEnd(46)} ${value}`);
const ms = (x) => `${x.toFixed(2)} ms`;

/// Some 10,000 characters with all that Markdown has.
const kPiece = `## A heading for a part

Light that passes through air meets molecules smaller than its wavelength; the short waves are scattered **far more** than the
long ones, as $I \\propto \\lambda^{-4}$ says. A list follows:

- first \`inline code\` and a [link](https://example.org),
- then *emphasis*, and $a^2 + b^2 = c^2$ in a line,
- and a third item that is long enough to be broken over more than one line of the page.

| wave | length | share |
|:-----|-------:|:-----:|
| blue | 450 nm | 41 % |
| red  | 700 nm | 7 % |

$$
\\int_0^\\infty e^{-x^2}\\,dx = \\frac{\\sqrt{\\pi}}{2}
$$

\`\`\`python
def scattered(wavelength, size):
    """Rayleigh's law."""
    return size ** 6 / wavelength ** 4  # relative
\`\`\`

> Quoted words that somebody said, over two lines, as they
> were written down.

`;
const text = (characters) => kPiece.repeat(Math.ceil(characters / kPiece.length)).slice(0, characters);

const server = await new Server().start();
const browser = await launch();

async function opened(path, before = () => {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, locale: 'en-US' });
  const page = await context.newPage();
  page.setDefaultTimeout(600_000);
  const cdp = await context.newCDPSession(page);
  await cdp.send('Performance.enable');
  await before(page);
  await page.goto(server.url + path);
  const metrics = async () => Object.fromEntries((await cdp.send('Performance.getMetrics')).metrics.map((m) => [m.name, m.value]));
  /// What `act` costs the main thread, ms: {cpu, tasks}; and which shares of the tasks went where.
  const cost = async (act) => {
    const a = await metrics();
    await act();
    const b = await metrics();
    const spent = (name) => (b[name] - a[name]) * 1000, share = (name) => `${Math.round(spent(name) / spent('TaskDuration') * 100)} %`;
    return { cpu: spent('ThreadTime'), tasks: spent('TaskDuration'),
      shares: `script ${share('ScriptDuration')}, style ${share('RecalcStyleDuration')}, layout ${share('LayoutDuration')}` };
  };
  return { page, cdp, metrics, cost, close: () => context.close() };
}
/// Memory of the page's process that no other has, MiB.
async function ownMemory() {
  const cdp = await browser.newBrowserCDPSession();
  const { processInfo } = await cdp.send('SystemInfo.getProcessInfo');
  await cdp.detach();
  const kib = processInfo.filter((p) => p.type === 'renderer').map((p) => {
    const found = /Private_Dirty:\s+(\d+)/.exec(readFileSync(`/proc/${p.id}/smaps_rollup`, 'utf8'));
    return Number(found?.[1] ?? 0);
  });
  return Math.max(...kib) / 1024;
}

async function firstPaint() {
  const times = [], paints = [];
  let bytes = 0;
  for (let i = 0; i < 5; ++i) {
    const { page, metrics, close } = await opened('/');
    await page.getByRole('heading', { level: 2 }).first().waitFor();
    const seen = await page.evaluate(() => ({
      paint: performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? NaN,
      bytes: [...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]
        .filter((e) => !e.name.includes('/app/api/')).reduce((sum, e) => sum + e.encodedBodySize, 0),
    }));
    paints.push(seen.paint), bytes = seen.bytes;
    times.push((await metrics()).ThreadTime * 1000);
    await close();
  }
  const median = (values) => values.sort((a, b) => a - b)[values.length >> 1];
  line('first paint, by the clock (median of 5)', ms(median(paints)));
  line('  until the page is ready: CPU', ms(median(times)));
  line('  fetched for it, compressed', `${(bytes / 1000).toFixed(0)} kB`);
}

async function scroll() {
  const messages = Array.from({ length: 1000 }, (_, i) => ({
    id: String(i), parent: i ? String(i - 1) : null, role: i % 2 ? 'assistant' : 'user',
    content: i % 2 ? text(600 + (i * 397) % 2400) : `Question ${i}: why is that so?`, thinking: i % 6 === 1 ? text(900) : '' }));
  await server.call('POST', 'import', { format: 'fathom.chats', version: 1, chats: [{ title: 'long', leaf: '999', messages }] });
  const id = (await server.call('GET', 'chats')).chats.find((c) => c.title === 'long').id;
  const { page, cdp, cost, metrics, close } = await opened('/');
  await page.getByRole('heading', { level: 2 }).first().waitFor();
  const open = await cost(async () => {
    await page.evaluate((chat) => (location.hash = `#/c/${chat}`), id);
    await page.locator('.message.last .markdown').waitFor();
    await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
  });
  line('1,000 messages: opened, CPU', `${ms(open.cpu)} (${open.shares})`);
  for (const [what, direction] of [['up, first time', -1], ['down again', 1]]) {
    let gaps = [];
    const all = await cost(async () => (gaps = await page.evaluate(({ frames, step }) => new Promise((done) => {
      const scroller = document.querySelector('.scroller'), gaps = [];
      let last = performance.now();
      const frame = (now) => {
        gaps.push(now - last);
        last = now;
        if (gaps.length > frames) return done(gaps.slice(1));
        scroller.scrollBy(0, step);
        requestAnimationFrame(frame);
      };
      requestAnimationFrame(frame);
    }), { frames: kFrames, step: direction * kStep })));
    const late = gaps.filter((gap) => gap > 25).length;
    line(`  scrolled ${what}: CPU a frame`, `${ms(all.cpu / kFrames)} (16.67 ms is 60 frames a second; ${all.shares})`);
    line('    by the clock', `${(1000 * kFrames / gaps.reduce((a, b) => a + b)).toFixed(1)} frames a second, ${late} of ${kFrames} late`);
  }
  await cdp.send('HeapProfiler.collectGarbage');
  const m = await metrics();
  line('  JavaScript heap', `${(m.JSHeapUsedSize / 2 ** 20).toFixed(1)} MiB; ${m.Nodes} nodes`);
  line('  memory of its process, private', `${(await ownMemory()).toFixed(0)} MiB`);
  await close();
}

/// A chat whose answer is written by `window.say`.
function madeUp() {
  const real = window.fetch;
  let controller;
  let sent = 0;
  const encoder = new TextEncoder();
  window.say = (text) => {
    sent += encoder.encode(text).length;
    controller.enqueue(encoder.encode(`id: ${sent}\ndata: ${JSON.stringify({ type: 'text', text })}\n\n`));
  };
  const message = (fields) => ({ chat: 'made', thinking: '', status: 'done', created: 1, ...fields });
  window.fetch = (url, init) => {
    const path = String(url);
    if (path.endsWith('/app/api/chats/made'))
      return Promise.resolve(Response.json({ id: 'made', title: 'made up', folder: null, pinned: false, archived: false, tags: [], system: '', settings: {},
        leaf: 'a', created: 1, updated: 1, running: true, messages: [message({ id: 'q', parent: null, role: 'user', content: 'Why?' }),
          message({ id: 'a', parent: 'q', role: 'assistant', content: '', status: 'running' })] }));
    if (path.includes('/messages/a/stream'))
      return Promise.resolve(new Response(new ReadableStream({ start: (c) => (controller = c, window.ready = true) }), { headers: { 'Content-Type': 'text/event-stream' } }));
    if (path.includes('/app/api/count')) return Promise.resolve(Response.json({ tokens: 100, ctx: 100_000 }));
    return real(url, init);
  };
}

async function stream() {
  for (const length of kLengths) {
    const { page, cost, close } = await opened('/#/c/made', (p) => p.addInitScript(madeUp));
    await page.waitForFunction(() => window.ready);
    const all = text((length + kTokens) * 4);
    const idle = () => page.evaluate(() => new Promise((done) => setTimeout(() => requestIdleCallback(done), 300)));
    await page.evaluate((t) => window.say(t), all.slice(0, length * 4));
    await page.waitForFunction((n) => (document.querySelector('.message.answer .markdown')?.textContent.length ?? 0) > n, length * 2);
    await idle();
    const tokens = Array.from({ length: kTokens }, (_, i) => all.slice((length + i) * 4, (length + i + 1) * 4));
    // The timer that brings the tokens is ours, not the page's: it runs once without them.
    const paced = (tokens) => cost(() => page.evaluate(({ tokens, count, pause }) => new Promise((done) => {
      let i = 0;
      const timer = setInterval(() => {
        if (tokens.length > 0) window.say(tokens[i]);
        if (++i === count) clearInterval(timer), setTimeout(done, 300);
      }, pause);
    }), { tokens, count: kTokens, pause: kPause }));
    const rest = await paced([]);
    await page.evaluate(() => {
      window.draws = 0;
      new MutationObserver(() => ++window.draws).observe(document.querySelector('.message.answer .markdown'), { childList: true, subtree: true, characterData: true });
    });
    const told = await paced(tokens);
    const draws = await page.evaluate(() => window.draws);
    line(`a token behind ${length.toLocaleString('en')}: CPU`, `${ms((told.cpu - rest.cpu) / kTokens)}   (without the timer's own ${ms(rest.cpu / kTokens)}; ${told.shares};` +
      ` ${(draws / (kTokens * kPause / 1000)).toFixed(0)} drawings a second)`);
    await close();
  }
}

try {
  console.log(`${cpus()[0].model}, ${cpus().length} threads, load ${loadavg()[0].toFixed(1)}; Chromium ${browser.version()}`);
  if (wanted('first')) await firstPaint();
  if (wanted('scroll')) await scroll();
  if (wanted('stream')) await stream();
} finally {
  await browser.close();
  await server.close();
}
