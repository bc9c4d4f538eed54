// The models' view in Chromium, against a real server and a hub on this machine: pulls, choices, memory, removal.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { after, afterEach, before, test } from 'node:test';
import { findings, launch, open, Server } from './_server.mjs';

let hub, server, browser, tell;
const pages = [];
const visit = async (options = {}) => {
  const page = await open(browser, `${server.url}/#/models`, options);
  pages.push(page);
  await page.getByRole('heading', { name: 'Get another model' }).waitFor();
  return page;
};
const ask = async (page, name) => {
  await page.getByLabel('Model on the hub').fill(name);
  await page.keyboard.press('Enter');
};
const forget = async () => {
  for (const { id } of (await server.call('GET', 'models/pulls')).pulls) await server.call('DELETE', `models/pulls/${id}`);
};

before(async () => {
  hub = spawn('python3', [new URL('_hub.py', import.meta.url).pathname], { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface({ input: hub.stdout })[Symbol.asyncIterator]();
  const { value: address } = await lines.next();
  tell = async (words) => {
    hub.stdin.write(`${words}\n`);
    await lines.next();
  };
  server = await new Server({ environment: { HF_ENDPOINT: address, NO_PROXY: '*', no_proxy: '*', HF_TOKEN: '' } }).start();
  browser = await launch();
});
after(async () => {
  await browser?.close();
  await server?.close();
  hub?.stdin.end();
});
afterEach(async () => {
  const wrong = pages.flatMap((page) => page.wrong);
  for (const page of pages.splice(0)) await page.context().close();
  assert.deepEqual(wrong, []);
});

test('a model is pulled with its progress on all pages, cancelled, gone on with, chatted with, and removed', async () => {
  const [page, other] = [await visit(), await visit()];
  await tell('hang 3000000');
  await ask(page, 'acme/chat');
  const row = page.locator('.pull');
  await row.getByText(/of 98 MB/).waitFor();
  await row.getByRole('progressbar').waitFor();
  await other.locator('.pull').getByText(/of 98 MB/).waitFor();
  await page.getByRole('status').getByText('acme/chat is being fetched.').waitFor({ state: 'attached' });
  await row.getByRole('button', { name: 'Cancel acme/chat' }).click();
  await row.getByText('Cancelled. What has come is kept.').waitFor();
  await other.locator('.pull').getByText('Cancelled.').waitFor();
  await tell('go');
  await row.getByRole('button', { name: 'Go on' }).click();
  await row.getByText('It is here.').waitFor();
  for (const p of [page, other]) await p.locator('.card h2').getByText('acme/chat:Q4_1').waitFor();
  const card = page.locator('.card').filter({ has: page.getByRole('heading', { name: 'acme/chat:Q4_1', level: 2 }) });
  await card.getByText(/needs \d+ MB, [\d.]+ GB free/).waitFor();
  await row.getByRole('button', { name: 'Chat with it' }).click();
  await page.locator('#composer').fill('Say hello.');
  await page.keyboard.press('Enter');
  await page.locator('.message.answer .markdown').waitFor();
  if (await page.getByRole('button', { name: 'Stop' }).isVisible()) await page.keyboard.press('Escape');
  const states = async () => (await server.call('GET', 'state')).models.find((m) => m.name === 'acme/chat:Q4_1');
  assert.equal((await states()).loaded, true);
  await page.goto(`${server.url}/#/models`);
  // What one page, or a program, does is seen on the others.
  await page.locator('.message.answer[aria-busy=true]').waitFor({ state: 'detached' });
  await card.getByRole('button', { name: 'Unload' }).click();
  const there = other.locator('.card').filter({ has: other.getByRole('heading', { name: 'acme/chat:Q4_1', level: 2 }) });
  await there.getByText('not loaded').waitFor();
  await there.getByRole('button', { name: 'Remove' }).click();
  await there.getByText('Remove acme/chat:Q4_1 (98 MB) from this machine?').waitFor();
  await there.getByRole('button', { name: 'Keep' }).click();
  await there.getByRole('button', { name: 'Remove' }).click();
  await there.getByRole('button', { name: 'Remove for good' }).click();
  await there.waitFor({ state: 'detached' });
  await card.waitFor({ state: 'detached' });
  assert.equal(await states(), undefined);
  await forget();
});

test('several files are offered by name and size, by keyboard; a refusal is in the server’s words', async () => {
  const page = await visit();
  await ask(page, 'acme/many');
  const row = page.locator('.pull');
  await row.getByText('It holds several files. Which one?').waitFor();
  await row.getByRole('button', { name: /Q4_K_M.*5 MB/ }).focus();
  await page.keyboard.press('Enter');
  await page.locator('.pull').filter({ hasText: 'acme/many:x-Q4_K_M.gguf' }).getByText('It is here.').waitFor();
  // It is no model, and its card says so before it is loaded.
  await page.locator('.card').filter({ hasText: 'acme/many:Q4_K_M' }).getByText('Its memory is not known').waitFor();
  await ask(page, 'acme/none');
  await page.locator('.pull').filter({ hasText: 'acme/none' }).locator('.problem').getByText(/acme\/none/).waitFor();
  await ask(page, '../etc/passwd');
  await page.getByRole('alert').getByText('expected OWNER/NAME').waitFor();
  assert.match(page.wrong.splice(0).join(), /models\/pulls: 400$/);
  assert.equal(await page.getByLabel('Model on the hub').inputValue(), '../etc/passwd');  // to be mended
  await server.call('DELETE', 'models?name=acme/many:Q4_K_M');
  await forget();
});

test('the recommended are sized to this machine', async () => {
  const page = await visit();
  const { models } = await server.call('GET', 'models/recommended');
  const rows = page.locator('.recommended li');
  await rows.nth(models.length - 1).waitFor();
  for (const [i, m] of models.entries()) {
    const fits = m.fits === 'now' || m.fits === 'after_unloading';
    assert.equal(await rows.nth(i).getByRole('button', { name: `Get ${m.name}` }).count(), fits ? 1 : 0, m.id);
    if (!fits) await rows.nth(i).getByText(m.fits === 'no_disk' ? /on the disk/ : /of memory/).waitFor();
    assert.equal(await rows.nth(i).getByText('best for this machine').count(), m.best ? 1 : 0, m.id);
  }
});

test('German, a phone of 360 px, axe in both colours', async () => {
  await tell('hang 2000000');
  await server.call('POST', 'models/pulls', { repository: 'acme/chat' });
  await server.call('POST', 'models/pulls', { repository: 'acme/many' });
  for (const dark of [false, true]) {
    const page = await visit({ dark, bypassCSP: true });
    await page.locator('.choice button').first().waitFor();
    await page.locator('.recommended li').first().waitFor();
    assert.deepEqual(await findings(page), []);
  }
  const phone = await open(browser, `${server.url}/#/models`, { size: [360, 740], hasTouch: true, isMobile: true, language: 'de-DE' });
  pages.push(phone);
  await phone.getByRole('heading', { name: 'Empfohlen für diesen Rechner' }).waitFor();
  await phone.locator('.pull').getByText(/von 98 MB/).waitFor();
  assert.ok(await phone.evaluate(() => document.documentElement.scrollWidth <= 360 &&
    [...document.querySelectorAll('main *')].every((e) => e.classList.contains('sr-only') || e.getBoundingClientRect().right <= 360.5)));
  await tell('go');
  await forget();
});
