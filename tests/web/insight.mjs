// Insight by the way a person takes: tokens with their alternatives, energy, how far a prompt is read.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { findings, Server, visits } from './_server.mjs';

const server = new Server({ thinks: true });
const visit = visits(server);
const answered = (page) => page.locator('.message.answer.last[aria-busy=false]').waitFor();
const say = async (page, text) => {
  await page.locator('#composer').fill(text);
  await page.keyboard.press('Enter');
};
const shownTokens = async (page, settings, text) => {
  const chat = await server.chat({ settings });
  await page.goto(`${server.url}/#/c/${chat.id}`);
  await say(page, text);
  await answered(page);
  await page.getByRole('button', { name: 'About this answer' }).click();
  await page.getByRole('button', { name: 'Show the tokens' }).click();
  await page.locator('.token-text .token').first().waitFor();
  const { messages } = await server.call('GET', `chats/${chat.id}`);
  return { answer: messages.at(-1), table: await server.call('GET', `messages/${messages.at(-1).id}/tokens`) };
};

test('a token under the pointer shows its probability and the alternatives', async () => {
  const page = await visit('/', { bypassCSP: true });  // for axe
  const { answer, table } = await shownTokens(page, { thinking: false, max_tokens: 24, seed: 5, temperature: 1.2 }, 'Say something.');
  const tokens = page.locator('.token-text .token');
  assert.equal(await tokens.count(), table.total);
  const text = (await tokens.allTextContents()).map((t) => t.replaceAll('↵', '')).join('');
  assert.ok(text.startsWith(answer.content.slice(0, 20)), text);
  await tokens.nth(2).hover();
  const card = page.locator('.token-card');
  await card.waitFor();
  const [, , logprob, ...others] = table.tokens[2];
  const percent = Math.exp(logprob) * 100;
  assert.ok(Math.abs(parseFloat(await card.locator('p > .tabular').innerText()) - percent) <= 0.51, `${percent}`);
  assert.equal(await card.locator('li').count(), others.length / 2);
  // By the keyboard, and to who listens.
  const list = page.getByRole('listbox', { name: 'Tokens and their probabilities' });
  await list.focus();
  await page.keyboard.press('Home');
  await page.keyboard.press('ArrowRight');
  const selected = page.locator('.token[aria-selected=true]');
  assert.equal(await selected.getAttribute('data-i'), '1');
  assert.equal(await list.getAttribute('aria-activedescendant'), await selected.getAttribute('id'));
  assert.match(await selected.getAttribute('aria-label'), /, [\d.]+ %\. Alternatives: .+ [\d.]+ %/);
  await page.keyboard.press('End');
  await page.locator(`.token[data-i="${table.total - 1}"][aria-selected=true]`).waitFor();
  await page.keyboard.press('Escape');
  await card.waitFor({ state: 'hidden' });
  await page.keyboard.press('ArrowLeft');
  for (const dark of [false, true]) {
    await page.emulateMedia({ colorScheme: dark ? 'dark' : 'light' });
    assert.deepEqual(await findings(page), [], dark ? 'dark' : 'light');
    if (process.env.FATHOM_PICTURES) await page.screenshot({ path: `${process.env.FATHOM_PICTURES}/tokens-${dark ? 'dark' : 'light'}.png` });
  }
});

test('thinking and answer stand apart, and what the budget set is said', async () => {
  const page = await visit('/');
  await shownTokens(page, { budget: 10, max_tokens: 30, seed: 2 }, 'What is 2+2?');
  assert.deepEqual(await page.locator('.token-section').allInnerTexts(), ['Thinking', 'Answer']);
  await page.locator('.token.forced').first().hover();
  await page.locator('.token-card').getByText('Set by the thinking budget').waitFor();
});

test('energy is told with how it is known', async () => {
  const page = await visit('/');
  await shownTokens(page, { thinking: false, max_tokens: 8, seed: 1 }, 'Hello.');
  await page.locator('.insight dd').getByText(/^[\d.]+ J \([\d.]+ Wh\), (estimated: 10 W per busy core|measured for the whole machine \(.+\))$/).waitFor();
});

test('ten thousand tokens: only those that are seen are drawn', async () => {
  const page = await visit('/', { serviceWorkers: 'block' });  // it would answer before the route below
  const table = { total: 10_000, texts: [' word', '.\n'], tokens: Array.from({ length: 10_000 }, (_, i) => [0, i % 20 === 19 ? 1 : 0, -(i % 7), 0, -1]) };
  await page.route('**/tokens', (route) => route.fulfill({ json: table }));
  const chat = await server.chat({}, ['user', 'Hi'], ['assistant', 'Long.']);
  const file = await server.call('GET', `chats/${chat.id}/export?format=json`);
  file.chats[0].title = 'long', file.chats[0].messages[1].info = { completion_tokens: 10_000, prompt_tokens: null };
  await server.call('POST', 'import', file);
  const { chats } = await server.call('GET', 'chats');
  await page.goto(`${server.url}/#/c/${chats.find((c) => c.title === 'long').id}`);
  await page.getByRole('button', { name: 'About this answer' }).click();
  await page.getByRole('button', { name: 'Show the tokens' }).click();
  await page.locator('.token-text .token').first().waitFor();
  const drawn = () => page.locator('.token-text .token').count();
  assert.ok(await drawn() < 4000);
  await page.getByRole('listbox').focus();
  await page.locator('.token-text .token').nth(30).hover();  // a pointer that rests there chooses nothing when the text scrolls
  await page.locator('.token[data-i="30"][aria-selected=true]').waitFor();
  await page.keyboard.press('End');
  await page.locator('.token[data-i="9999"][aria-selected=true]').waitFor();
  await page.waitForFunction(() => document.querySelectorAll('.token-text .token').length < 4000);
  assert.equal(await page.locator('.token[aria-selected=true]').getAttribute('data-i'), '9999');
  await page.locator('.token-text .token:visible').nth(-40).hover();  // one that moves does
  await page.waitForFunction(() => document.querySelector('.token[aria-selected=true]')?.dataset.i !== '9999');
});

test('a long prompt shows how far it is read', async () => {
  const chat = await server.chat({ settings: { max_tokens: 4, seed: 1 } });
  const page = await visit(`/#/c/${chat.id}`);
  const seen = page.locator('.thinking').getByText(/^Reading: [\d,]+ of [\d,]+ tokens$/).waitFor();
  await say(page, Array.from({ length: 150 }, (_, n) => `${n} apples and ${(n * 7) % 13} pears.`).join(' '));
  await seen;
  await answered(page);
});
