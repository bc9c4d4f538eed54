// The page of a server with keys, in Chromium: the login, its end, and that nothing is lost over it.
import assert from 'node:assert/strict';
import { renameSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { findings, Server, visits } from './_server.mjs';

const kKey = 'correct-horse-battery', kOther = 'another-horse-battery';
const server = new Server({ key: kKey });
// That it is not let in, a page is told by 401; nothing else may go wrong.
const visit = visits(server, { forgiven: /: (401|429)$/ });
const field = (page) => page.getByLabel('Password or key');
const logIn = async (page, key = kKey) => {
  await field(page).fill(key);
  await page.keyboard.press('Enter');
};
const greeted = (page) => page.getByRole('heading', { name: 'What shall we think about?' }).waitFor();
const faultless = async (page) => assert.deepEqual(await findings(page), []);
/// In one step, as `mv` does.
const setKeys = (text) => {
  writeFileSync(`${server.keys}.new`, text, { mode: 0o600 });
  renameSync(`${server.keys}.new`, server.keys);
};

test('the login asks for the key, says what is wrong, and remembers', async () => {
  const page = await visit();
  await field(page).waitFor();
  assert.equal(await page.evaluate(() => document.activeElement.id), 'login-key');
  assert.equal(await field(page).getAttribute('autocomplete'), 'current-password');
  assert.equal(await field(page).getAttribute('type'), 'password');
  await logIn(page, 'not the key');
  await page.getByRole('alert').getByText('That is not the password or key').waitFor();
  assert.equal(await field(page).getAttribute('aria-invalid'), 'true');
  await page.getByRole('button', { name: 'Show it' }).click();
  assert.equal(await field(page).getAttribute('type'), 'text');
  await page.keyboard.press('Escape');
  await page.keyboard.press('Escape');
  await field(page).waitFor();
  await logIn(page, ` ${kKey} `);
  await greeted(page);
  await page.locator('dialog.login').waitFor({ state: 'detached' });
  await page.reload();
  await greeted(page);
  assert.equal(await page.locator('dialog.login').count(), 0);
  const [cookie] = await page.context().cookies();
  assert.deepEqual([cookie.httpOnly, cookie.sameSite, cookie.path], [true, 'Strict', '/']);
});

test('a session that ends while the page is open: the login comes, and then everything is where it was', async () => {
  const chat = await server.chat({ settings: { max_tokens: 8, seed: 1 } }, ['user', 'One apple.'], ['assistant', 'First answer.']);
  const page = await visit(`/#/c/${chat.id}`);
  await logIn(page);
  await page.locator('.bubble').getByText('One apple.').waitFor();
  await page.locator('#composer').fill('A long thought, not yet sent');
  setKeys(`${kOther}\n`);
  await page.keyboard.press('Enter');
  await field(page).waitFor();
  await logIn(page, kOther);
  await page.locator('dialog.login').waitFor({ state: 'detached' });
  assert.ok(page.url().endsWith(`#/c/${chat.id}`));
  assert.equal(await page.locator('#composer').inputValue(), 'A long thought, not yet sent');
  // What happens elsewhere meanwhile and afterwards is seen here.
  server.key = kOther;
  await server.call('POST', `chats/${chat.id}/messages`, { parent: (await server.call('GET', `chats/${chat.id}`)).leaf, role: 'user', content: 'Two pears.' });
  await page.locator('.bubble').getByText('Two pears.').waitFor();
  await page.locator('#composer').focus();
  await page.keyboard.press('Enter');
  await page.locator('.bubble').getByText('A long thought').waitFor();
  await page.locator('.message.answer.last[aria-busy=false]').waitFor();
  setKeys(`${kKey}\n`);
  server.key = kKey;
});

test('logging out shows the login in every tab', async () => {
  const page = await visit();
  await logIn(page);
  await greeted(page);
  const second = await page.context().newPage();
  await second.goto(server.url);
  await greeted(second);
  await page.locator('.sidebar footer').getByRole('button', { name: 'More' }).click();
  await page.getByRole('menuitem', { name: 'Log out' }).click();
  await field(page).waitFor();
  await field(second).waitFor();
  assert.deepEqual(await page.context().cookies(), []);
});

test('on a phone, in German, in the dark, and for screen readers', async () => {
  const page = await visit('/', { size: [360, 640], language: 'de-DE', dark: true });
  await page.getByLabel('Passwort oder Schlüssel').fill('falsch');
  await page.keyboard.press('Enter');
  await page.getByRole('alert').getByText('Das ist nicht das Passwort').waitFor();
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= 360 && document.querySelector('dialog.login').scrollWidth <= 360));
  await faultless(page);
  if (process.env.FATHOM_PICTURES) await page.screenshot({ path: `${process.env.FATHOM_PICTURES}/login-phone-dark.png` });
  const light = await visit();
  await field(light).waitFor();
  await faultless(light);
  if (process.env.FATHOM_PICTURES) await light.screenshot({ path: `${process.env.FATHOM_PICTURES}/login.png` });
});
