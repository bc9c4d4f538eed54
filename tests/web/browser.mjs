// The page in Chromium against a real server: every feature by the way a person takes.
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { findings, Server, visits } from './_server.mjs';

const server = new Server({ thinks: true });
const visit = visits(server);
const answer = (page) => page.locator('.message.answer').last();
const answered = (page) => page.locator('.message.answer.last[aria-busy=false]').waitFor();
const say = async (page, text) => {
  await page.locator('#composer').fill(text);
  await page.keyboard.press('Enter');
};
/// No deep thinking, few tokens: for tests of other things.
const kBrief = { thinking: false, max_tokens: 24, seed: 3 };
const brief = (...messages) => server.chat({ settings: kBrief }, ...messages);

test('a first visit greets, and the first message streams without a setting touched', async () => {
  const page = await visit();
  await page.getByRole('heading', { name: 'What shall we think about?' }).waitFor();
  assert.equal(await page.locator('.try').count(), 3);
  await page.locator('.try').first().click();
  await page.locator('.thinking.active .thinking-text').waitFor();
  assert.match(page.url(), /#\/c\/\w+/);
  await page.locator('.chat-row.open').getByText('Why is the sky blue').waitFor();
  assert.match(await page.locator('.thinking-bar').innerText(), /\d\.\d s[\s\S]*\d tokens/);
  await page.getByRole('button', { name: 'Answer now' }).click();  // this model never ends its thinking by itself
  await page.locator('.message.answer > .markdown').waitFor();
  assert.equal(await page.locator('.fold').getAttribute('aria-expanded'), 'false');
  assert.match(await page.locator('.fold').innerText(), /Thought for/);
  if (await page.getByRole('button', { name: 'Stop' }).isVisible()) await page.keyboard.press('Escape');
  await answered(page);
});

test('stop, continue, answer anew, and turn between versions', async () => {
  const chat = await server.chat({ settings: { thinking: false, seed: 1, max_tokens: 400 } });
  const page = await visit(`/#/c/${chat.id}`);
  await say(page, 'Write a long story about a ship.');
  await answer(page).locator('.markdown').waitFor();
  await page.getByRole('button', { name: 'Stop' }).click();
  await page.getByText('Stopped.').waitFor();
  const first = await answer(page).locator('.markdown').textContent();
  await page.getByRole('button', { name: 'Continue' }).click();
  await page.locator('.siblings').getByText('2/2').waitFor();
  await page.keyboard.press('Escape');
  await answered(page);
  assert.ok((await answer(page).locator('.markdown').textContent()).startsWith(first.slice(0, 20)));
  await page.getByRole('button', { name: 'Answer anew' }).click();
  await page.getByRole('button', { name: 'Stop' }).click();
  await page.locator('.siblings').getByText('3/3').waitFor();
  await page.getByRole('button', { name: 'Version before' }).click();
  await page.getByRole('button', { name: 'Version before' }).click();
  await page.locator('.siblings').getByText('1/3').waitFor();
  assert.equal(await answer(page).locator('.markdown').textContent(), first);
});

test('an edited question is a new branch, and the tree shows both', async () => {
  const chat = await brief(['user', 'One apple.'], ['assistant', 'First answer.']);
  const page = await visit(`/#/c/${chat.id}`);
  await page.locator('.mine').hover();
  await page.locator('.mine').getByRole('button', { name: 'Edit' }).click();
  await page.locator('.editor textarea').fill('Two pears.');
  await page.getByRole('button', { name: 'Send' }).first().click();
  await page.locator('.bubble').getByText('Two pears.').waitFor();
  await answered(page);
  await page.getByRole('button', { name: 'Commands for this chat' }).click();
  await page.getByRole('menuitem', { name: 'All branches' }).click();
  await page.locator('.tree li').nth(3).waitFor();
  await page.locator('.tree').getByText('First answer.').click();
  await page.locator('.bubble').getByText('One apple.').waitFor();
  assert.equal((await answer(page).locator('.markdown').textContent()).trim(), 'First answer.');
});

test('the thinking can be edited, and the answer goes on from there', async () => {
  const chat = await server.chat({ settings: { max_tokens: 12, seed: 1 } }, ['user', 'What is 2+2?'], ['assistant', 'Five.', 'Two and two is five.']);
  const page = await visit(`/#/c/${chat.id}`);
  await page.getByRole('button', { name: 'Commands for this message' }).last().click();
  await page.getByRole('menuitem', { name: 'Edit the thinking' }).click();
  await page.locator('.editor textarea').fill('Two and two is four.');
  await page.getByRole('button', { name: 'Go on from here' }).click();
  await page.locator('.siblings').getByText('2/2').waitFor();
  await answered(page);
  const { messages } = await server.call('GET', `chats/${chat.id}`);
  assert.ok(messages.at(-1).thinking.startsWith('Two and two is four.'));
});

test('a reload in mid-answer loses nothing', async () => {
  const chat = await server.chat({ settings: { thinking: false, seed: 2, max_tokens: 150 } });
  const page = await visit(`/#/c/${chat.id}`);
  await say(page, 'Tell me about the sea.');
  await answer(page).locator('.markdown').waitFor();
  await page.reload();
  await answered(page);
  const { messages } = await server.call('GET', `chats/${chat.id}`);
  assert.ok(messages.at(-1).info.completion_tokens > 30);
  const shown = await answer(page).locator('.markdown').textContent();
  assert.ok(shown.includes(messages.at(-1).content.slice(0, 30)));
  const fresh = await visit(`/#/c/${chat.id}`);
  await answered(fresh);
  assert.equal(await answer(fresh).locator('.markdown').textContent(), shown);
});

test('a network that is lost in mid-answer is caught up with', async () => {
  const chat = await server.chat({ settings: { thinking: false, seed: 2, max_tokens: 120 } });
  const page = await visit(`/#/c/${chat.id}`);
  await say(page, 'Tell me about the moon.');
  await answer(page).locator('.markdown').waitFor();
  await page.context().setOffline(true);
  await page.context().setOffline(false);
  await answered(page);
  const { messages } = await server.call('GET', `chats/${chat.id}`);
  assert.equal(messages.at(-1).status, 'done');
});

test('two tabs agree', async () => {
  const chat = await brief(['user', 'Hello tabs.']);
  const [one, two] = [await visit(`/#/c/${chat.id}`), await visit('/')];
  await two.locator('.chat-row').first().waitFor();
  await one.locator('.chat-row.open').getByRole('button').click();
  await one.getByRole('menuitem', { name: 'Rename' }).click();
  await one.getByRole('dialog').getByRole('textbox').fill('Renamed in one tab');
  await one.keyboard.press('Enter');
  await two.locator('.chat-row').getByText('Renamed in one tab').waitFor();
});

test('a restart of the server is noticed and rejoined', { skip: process.env.FATHOM_URL ? 'not our server' : false }, async () => {
  const chat = await brief(['user', 'Before the restart.']);
  const page = await visit(`/#/c/${chat.id}`);
  await page.locator('.bubble').waitFor();
  await server.stop();
  await page.getByText('The server does not answer').waitFor();
  await server.start();
  await page.getByText('The server does not answer').waitFor({ state: 'detached' });
  await say(page, 'After the restart.');
  await answered(page);
});

test('what an answer holds is shown, never run', async () => {
  const chat = await brief(['user', '<img src=x onerror="window.pwned=1"> **not bold**'],
    ['assistant', '<script>window.pwned = 1</script>\n\n<img src=x onerror="window.pwned=1">\n\n[a](javascript:window.pwned=1) ' +
      '![x](https://example.org/leak.png) <svg onload="window.pwned=1"> $\\href{javascript:window.pwned=1}{x}$\n\n```"><img src=x onerror=window.pwned=1>\nx\n```\n',
      '<iframe src="javascript:parent.pwned=1"></iframe>']);
  const page = await visit(`/#/c/${chat.id}`);
  const asked = [];
  page.on('request', (request) => asked.push(request.url()));
  await page.locator('.fold').click();
  await page.locator('.thinking-text').getByText('<iframe').waitFor();
  await page.locator('.katex').waitFor();
  assert.equal(await page.locator('.message img, .message script, .message iframe, .message svg[onload], .message a[href^=javascript]').count(), 0);
  assert.equal(await page.evaluate(() => window.pwned), undefined);
  assert.deepEqual(asked.filter((url) => !url.startsWith(server.url)), []);
});

const kRich = 'Look:\n\n| a | b |\n|---|--:|\n| 1 | 2 |\n\n```python\ndef f(x):\n    return x + 1  # one more\n```\n\n$$\\int_0^1 x\\,dx = \\frac12$$\n\n' +
  'Inline $a^2$, **bold** and `code`.\n\n1. one\n2. two\n';

test('tables, coloured code with a copy button, and formulas', async () => {
  const chat = await brief(['user', 'Show me.'], ['assistant', kRich]);
  const page = await visit(`/#/c/${chat.id}`, { permissions: ['clipboard-read', 'clipboard-write'] });
  await page.locator('.markdown table td').first().waitFor();
  await page.locator('.hljs-keyword').first().waitFor();
  await page.locator('.katex-display').waitFor();
  await page.evaluate(() => document.fonts.ready);
  assert.ok(await page.evaluate(() => [...document.fonts].some((f) => f.family === 'KaTeX_Main' && f.status === 'loaded')));
  await page.locator('.code-bar').getByRole('button', { name: 'Copy' }).click();
  await page.locator('.code-bar').getByText('Copied').waitFor();
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), 'def f(x):\n    return x + 1  # one more\n');
});

test('order: pins, folders, tags, archive, delete and undo', async () => {
  const chat = await brief(['user', 'Put me in order.']);
  const page = await visit(`/#/c/${chat.id}`);
  const row = page.locator('.chat-row').filter({ hasText: 'Put me in order.' });
  const command = async (name) => {
    await row.hover();
    await row.getByRole('button').click();
    await page.getByRole('menuitem', { name, exact: true }).click();
  };
  await command('Pin');
  await page.getByRole('heading', { name: 'Pinned' }).waitFor();
  await page.getByRole('button', { name: 'Folders' }).click();
  await page.getByRole('menuitem', { name: 'New folder' }).click();
  await page.getByRole('dialog').getByRole('textbox').fill('Work');
  await page.keyboard.press('Enter');
  await page.getByRole('dialog').waitFor({ state: 'detached' });
  await command('Move to Work');
  await page.getByRole('button', { name: 'Folders' }).click();
  await page.getByRole('menuitemradio', { name: 'Work' }).click();
  await row.waitFor();
  await command('Tags');
  await page.getByRole('dialog').getByRole('textbox').fill('urgent, home');
  await page.keyboard.press('Enter');
  await row.getByText('urgent').waitFor();
  await page.getByRole('button', { name: 'Folders' }).click();
  await page.getByRole('menuitemradio', { name: 'All chats' }).click();
  await command('Archive');
  await row.waitFor({ state: 'detached' });
  await page.getByRole('button', { name: 'More', exact: true }).click();
  await page.getByRole('menuitem', { name: 'Archive' }).click();
  await command('Back from the archive');
  await page.getByRole('button', { name: 'More', exact: true }).click();
  await page.getByRole('menuitem', { name: 'Back to the chats' }).click();
  await command('Delete');
  await row.waitFor({ state: 'detached' });
  await page.getByRole('button', { name: 'Undo' }).click();
  await row.waitFor();
});

test('search finds words in messages and in thinking', async () => {
  await brief(['user', 'Where do zebrafinches live?'], ['assistant', 'In Australia.', 'The word quagga came to my mind.']);
  const page = await visit();
  await page.keyboard.press('Control+k');
  await page.keyboard.type('zebrafinches');
  await page.locator('.hit mark').getByText('zebrafinches').first().waitFor();
  await page.getByRole('combobox').fill('quagga');
  await page.locator('.hit').getByText('Thinking').waitFor();
  await page.keyboard.press('Enter');
  await page.locator('.bubble').getByText('zebrafinches').waitFor();
});

test('out and in again', async () => {
  const chat = await brief(['user', 'Export this, please.'], ['assistant', 'Gladly.', 'A secret thought.']);
  const page = await visit(`/#/c/${chat.id}`);
  const saved = async (name) => {
    await page.getByRole('button', { name: 'Commands for this chat' }).click();
    const download = page.waitForEvent('download');
    await page.getByRole('menuitem', { name, exact: true }).click();
    return readFileSync(await (await download).path(), 'utf8');
  };
  assert.match(await saved('Export as Markdown'), /A secret thought/);
  assert.doesNotMatch(await saved('Export as Markdown, without thinking'), /secret/);
  assert.match(await saved('Export as a web page'), /<!doctype html>[\s\S]*Gladly/);
  const file = join(server.folder, 'chat.json');
  writeFileSync(file, await saved('Export as JSON'));
  await page.locator('input[type=file][accept]').setInputFiles(file);
  await page.getByText('Chats imported: 1').waitFor();
  await page.locator('.chat-row').filter({ hasText: 'Export this, please.' }).nth(1).waitFor();
});

// One page with one line of text.
const kPdf = (text) => {
  const content = `BT /F1 12 Tf 20 100 Td (${text}) Tj ET`;
  const objects = ['<</Type/Catalog/Pages 2 0 R>>', '<</Type/Pages/Kids[3 0 R]/Count 1>>',
    '<</Type/Page/Parent 2 0 R/MediaBox[0 0 300 200]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>',
    `<</Length ${content.length}>>stream\n${content}\nendstream`, '<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>'];
  return `%PDF-1.4\n${objects.map((o, i) => `${i + 1} 0 obj${o}endobj\n`).join('')}trailer<</Root 1 0 R/Size 6>>\n%%EOF`;
};

test('files: chosen, dropped, pasted and removed; the model gets their text, the eye a chip', async () => {
  const chat = await brief();
  const page = await visit(`/#/c/${chat.id}`);
  const waiting = page.locator('.waiting .file-chip');
  await page.locator('.composer input[type=file]').setInputFiles([
    { name: 'wrong.txt', mimeType: 'text/plain', buffer: Buffer.from('not this') },
    { name: 'notes.md', mimeType: 'text/markdown', buffer: Buffer.from('# Notes\n\nThe key is under the mat.\n') }]);
  await waiting.filter({ hasText: 'notes.md' }).getByText(/^\d+ tokens$/).waitFor();
  await page.getByRole('button', { name: 'Remove wrong.txt' }).click();
  await waiting.filter({ hasText: 'wrong.txt' }).waitFor({ state: 'detached' });
  const give = (selector, kind, name, text) => page.locator(selector).evaluate((element, [kind, name, text]) => {
    const data = new DataTransfer();
    data.items.add(new File([text], name));
    element.dispatchEvent(kind === 'paste' ? new ClipboardEvent(kind, { clipboardData: data, bubbles: true, cancelable: true })
      : new DragEvent(kind, { dataTransfer: data, bubbles: true, cancelable: true }));
  }, [kind, name, text]);
  await give('.scroller', 'dragover', 'sum.py', '');
  await page.getByText('Drop files here').waitFor();
  await give('.scroller', 'drop', 'sum.py', 'print(1 + 1)\n');
  await waiting.filter({ hasText: 'sum.py' }).getByText(/tokens$/).waitFor();
  await give('#composer', 'paste', 'pasted.txt', 'Seven.');
  await waiting.filter({ hasText: 'pasted.txt' }).getByText(/tokens$/).waitFor();
  await say(page, 'Where is the key?');
  await answered(page);
  await waiting.waitFor({ state: 'detached' });
  const { messages } = await server.call('GET', `chats/${chat.id}`);
  assert.equal(messages[0].content, '[file name]: notes.md\n[file content begin]\n# Notes\n\nThe key is under the mat.\n[file content end]\n' +
    '[file name]: sum.py\n[file content begin]\nprint(1 + 1)\n[file content end]\n' +
    '[file name]: pasted.txt\n[file content begin]\nSeven.\n[file content end]\nWhere is the key?');
  assert.equal(await page.locator('.bubble').textContent(), 'Where is the key?');
  assert.equal(await page.locator('.mine .file-chip').count(), 3);
  await page.locator('.mine .file-chip').first().click();
  await page.locator('.file-text').getByText('The key is under the mat.').waitFor();
  // An edited question keeps its files.
  await page.locator('.mine').hover();
  await page.locator('.mine').getByRole('button', { name: 'Edit' }).click();
  assert.equal(await page.locator('.editor textarea').inputValue(), 'Where is the key?');
  await page.locator('.editor textarea').fill('Where is the lock?');
  await page.getByRole('button', { name: 'Send' }).first().click();
  await page.locator('.bubble').getByText('Where is the lock?').waitFor();
  assert.equal(await page.locator('.mine .file-chip').count(), 3);
  await answered(page);
});

test('a PDF in a new chat, which is named after the question; what is no text is refused with a reason', async (t) => {
  const page = await visit();
  const choose = (name, text) => page.locator('.composer input[type=file]').setInputFiles([{ name, mimeType: '', buffer: Buffer.from(text) }]);
  await page.locator('.try').first().waitFor();
  await choose('picture.bin', '\0\x01\0');
  await page.getByRole('alert').getByText('expected a text in UTF-8 or a PDF').waitFor();
  assert.match(page.wrong.splice(0).join(), /^POST \S+app\/api\/text\S+: 415$/);
  await page.getByRole('button', { name: 'Deep thinking' }).click();
  await choose('paper.pdf', kPdf('Of whales and weather.'));
  const chip = page.locator('.waiting .file-chip').getByText(/tokens$/);
  await chip.or(page.getByRole('alert').getByText('PDF files cannot be read')).waitFor();
  if (!await chip.isVisible()) return page.wrong.splice(0), t.skip('pdftotext is not installed');
  await say(page, 'What is it about?');
  await page.locator('.chat-row.open').getByText('What is it about?').waitFor();
  await page.locator('.mine .file-chip').click();
  await page.locator('.file-text').getByText('Of whales and weather.').waitFor();
  await answer(page).locator('.markdown').waitFor();
  if (await page.getByRole('button', { name: 'Stop' }).isVisible()) await page.keyboard.press('Escape');
  await answered(page);
});

test('insight: numbers, the cost at a list price, the exact prompt; the same once more to the letter', async () => {
  const chat = await server.chat({ settings: { thinking: false, max_tokens: 24 } });
  const page = await visit(`/#/c/${chat.id}`);
  await say(page, 'Say hello.');
  await answered(page);
  await page.getByRole('button', { name: 'About this answer' }).click();
  await page.getByText('tokens a second').waitFor();
  await page.getByRole('button', { name: 'Show the exact prompt' }).click();
  await page.locator('.prompt').getByText('<|im_start|>user').waitFor();
  await page.getByText(/V4\.1 flash, since September 10, 2026\) this would have cost \$0\.0000\d+, and \$0\.0000\d+ off peak/).waitFor();
  await page.getByText(/^\d+ \(\d+ %\)$/).waitFor();  // of the prompt, from the cache
  // Whatever the chat's settings are by now.
  await server.call('PATCH', `chats/${chat.id}`, { settings: { thinking: false, max_tokens: 5, temperature: 1.9, seed: 77 } });
  const again = async () => {
    await page.getByRole('button', { name: 'Run again exactly' }).click();
    await answered(page);
  };
  await again();
  await page.getByText('Run again: the same text').waitFor();
  const { messages } = await server.call('GET', `chats/${chat.id}`);
  assert.equal(messages.at(-1).content, messages.at(-2).content);
  await server.call('PATCH', `chats/${chat.id}`, { system: 'Talk like a pirate, and only in Spanish.' });
  await page.getByRole('button', { name: 'About this answer' }).last().click();
  await again();
  await page.getByText('Run again: another text').waitFor();
});

test('a nearly full window offers room: a short answer, the newest turns as a branch, a new chat with a summary', async () => {
  const turns = [1, 2, 3, 4].flatMap((n) => [['user', `Question ${n}: ${'sea '.repeat(230)}`], ['assistant', `Answer ${n}: ${'sky '.repeat(230)}`]]);
  const chat = await server.chat({ title: 'Of sea and sky', settings: { ...kBrief, max_tokens: 8 } }, ...turns);
  const page = await visit(`/#/c/${chat.id}`);
  const warning = page.locator('.warning');
  await warning.getByText('nearly fills the context window').waitFor();
  await page.locator('#composer').fill('What now?');
  await warning.getByRole('button', { name: 'Ask for a short answer' }).click();
  assert.equal(await page.locator('#composer').inputValue(), 'What now? Answer in a few sentences.');

  await warning.getByRole('button', { name: 'New chat with a summary' }).click();
  await page.getByRole('heading', { name: 'Of sea and sky (continued)' }).waitFor();
  await page.getByText('The oldest 2 messages did not fit').waitFor();
  const { id, system, settings } = await server.call('GET', `chats/${/#\/c\/(.+)$/.exec(page.url())[1]}`);
  assert.notEqual(id, chat.id);
  assert.match(system, /^Summary of the conversation so far:\n\n\S/);
  assert.equal(settings.max_tokens, 8);
  await warning.waitFor({ state: 'detached' });
  assert.equal(await page.locator('#composer').inputValue(), 'What now? Answer in a few sentences.');

  await page.goBack();
  await warning.getByRole('button', { name: 'Go on with the newest 4 messages' }).click();
  await page.locator('.mine .siblings').first().getByText('2/2').waitFor();
  await warning.waitFor({ state: 'detached' });
  await page.keyboard.press('Escape');
  const kept = (await server.call('GET', `chats/${chat.id}`)).messages;
  assert.equal(kept.length, 12);  // nothing is lost
  assert.deepEqual(kept.slice(8).map((m) => m.content.slice(0, 10)), ['Question 3', 'Answer 3: ', 'Question 4', 'Answer 4: ']);
  await say(page, 'And now?');
  await answered(page);
});

test('answers side by side: settings, models, samples with a vote', async () => {
  const two = await new Server({ second: true }).start();
  try {
    const chat = await two.chat({ settings: kBrief }, ['user', 'What is 2+2? Give the number.']);
    const parent = (await two.call('GET', `chats/${chat.id}`)).messages[0].id;
    for (const content of ['It is \\boxed{4}.', 'Let me see.\n\n**The answer is 4.**', 'Five.'])
      await two.call('POST', `chats/${chat.id}/messages`, { parent, role: 'assistant', content });
    const page = await visit(`${two.url}/#/c/${chat.id}`, { bypassCSP: true });
    await page.getByRole('button', { name: 'Answers side by side' }).click();
    const columns = page.locator('.column');
    await page.getByText('2 of 3 answers agree: 4').waitFor();
    assert.equal(await page.locator('.column.agrees').count(), 2);
    await page.getByText('Others: Five (1)').waitFor();
    assert.deepEqual(await findings(page), [], 'side by side');

    if (!process.env.FATHOM_URL) await page.getByRole('dialog').getByLabel('Model').selectOption('second');
    await page.getByLabel('Temperature').fill('0.9');
    await page.getByRole('button', { name: 'Answer this way' }).click();
    await columns.nth(3).getByText('Temperature 0.90').waitFor();  // told when it is over
    await page.getByLabel('Samples').selectOption('3');
    await page.getByLabel('Temperature').fill('0');
    await page.getByRole('button', { name: 'Take samples and count' }).click();
    await columns.nth(6).waitFor();
    await page.locator('.column[aria-busy=true]').first().waitFor({ state: 'detached' });
    await page.locator('.column[aria-busy=false]').nth(6).waitFor();
    const made = (await two.call('GET', `chats/${chat.id}`)).messages.slice(4);
    if (!process.env.FATHOM_URL) assert.deepEqual(made.map((m) => m.model), Array(4).fill('second'));
    assert.deepEqual(made.map((m) => m.info.seed), [6, 7, 8, 9]);  // the chat's is 3, and three answers were there
    assert.deepEqual(made.map((m) => m.info.settings.temperature), [0.9, 0.6, 0.6, 0.6]);  // at 0 all would be one
    await columns.first().getByRole('button', { name: 'Go on with this answer' }).click();
    await page.locator('.siblings').getByText('1/7').waitFor();
    assert.equal(await page.getByRole('dialog').count(), 0);
  } finally {
    await two.close();
  }
});

test('models are loaded, reloaded and unloaded; a refusal is shown in the server’s words', async () => {
  const { models: [{ name }] } = await server.call('GET', 'state');
  const loaded = async () => (await server.call('GET', 'state')).models[0].loaded;
  const page = await visit('/#/models');
  const card = page.locator('.card').first();
  const state = (text) => card.locator('.facts span').first().getByText(text, { exact: true }).waitFor();
  const press = (text) => card.getByRole('button', { name: text, exact: true }).click();
  await state('loaded');
  await card.getByText('reads 2,048 tokens').waitFor();
  await press('Unload');
  await state('not loaded');
  assert.equal(await loaded(), false);
  await press('Load');
  await state('loaded');
  assert.equal(await loaded(), true);
  await press('Reload');
  await card.getByRole('status').getByText('Being reloaded').waitFor({ state: 'detached' });
  assert.equal(await loaded(), true);
  // Somebody else is faster: what the page asks for cannot be done any more.
  await page.route('**/models/unload', async (route) => {
    const done = await fetch(`${server.url}/models/unload`, { method: 'POST', body: JSON.stringify({ model: name }) });
    assert.equal(done.status, 200);
    await route.continue();
  });
  await press('Unload');
  await card.getByRole('alert').getByText('expected one in memory').waitFor();
  await state('not loaded');
  assert.match(page.wrong.splice(0).join(), /models\/unload: 400$/);
  await press('Load');
  await state('loaded');
  assert.equal(await card.getByRole('alert').count(), 0);
});

test('incognito stores nothing', async () => {
  const count = async () => (await server.call('GET', 'state')).counts.chats;
  const before = await count();
  const page = await visit('/#/incognito');
  await page.getByRole('button', { name: 'Deep thinking' }).click();
  await say(page, 'Remember nothing.');
  await answer(page).locator('.markdown').waitFor();
  if (await page.getByRole('button', { name: 'Stop' }).isVisible()) await page.keyboard.press('Escape');
  await page.locator('.message.answer[aria-busy=false]').waitFor();
  assert.equal(await count(), before);
});

test('settings of a chat, custom instructions, templates, German', async () => {
  const page = await visit();
  await page.keyboard.press('Control+,');
  await page.getByLabel('Custom instructions').fill('Answer like a sailor.');
  await page.getByLabel('Language').selectOption('de');
  await page.getByRole('heading', { name: 'Einstellungen' }).waitFor();
  await page.getByLabel('Sprache').selectOption('auto');
  await page.keyboard.press('Escape');
  await page.getByRole('button', { name: 'More', exact: true }).click();
  await page.getByRole('menuitem', { name: 'Templates' }).click();
  await page.getByRole('button', { name: 'New template' }).click();
  await page.getByLabel('Name', { exact: true }).fill('Shorten');
  await page.getByLabel('Prompt', { exact: true }).fill('Make this shorter:');
  await page.getByRole('button', { name: 'Save' }).click();
  await page.getByRole('dialog').getByText('Shorten').waitFor();
  await page.keyboard.press('Escape');
  await page.locator('.composer').getByRole('button', { name: 'Templates' }).click();
  await page.getByRole('menuitem', { name: 'Shorten' }).click();
  assert.equal(await page.locator('#composer').inputValue(), 'Make this shorter:');
  await say(page, 'Ahoy.');
  await page.locator('.system').getByText('System prompt').waitFor();
  await page.keyboard.press('Escape');
  await answered(page);
  await page.getByRole('button', { name: 'Commands for this chat' }).click();
  await page.getByRole('menuitem', { name: 'Settings of this chat' }).click();
  assert.equal(await page.getByLabel('System prompt').inputValue(), 'Answer like a sailor.');
  await page.getByLabel('Temperature').fill('0.2');
  await page.getByRole('button', { name: 'Save' }).click();
  await page.getByRole('dialog').waitFor({ state: 'detached' });
  const id = /#\/c\/(.+)$/.exec(page.url())[1];
  assert.equal((await server.call('GET', `chats/${id}`)).settings.temperature, 0.2);
  await server.call('PATCH', 'preferences', { instructions: '' });
});

test('everything by keyboard', async () => {
  const chat = await brief(['user', 'Keys only.'], ['assistant', 'As you wish.']);
  const page = await visit();
  await page.locator('.chat-row').first().waitFor();
  await page.keyboard.press('Tab');
  await page.keyboard.press('Control+/');
  await page.getByRole('heading', { name: 'Keyboard shortcuts' }).waitFor();
  await page.keyboard.press('Escape');
  await page.keyboard.press('Control+b');
  await page.locator('.sidebar').waitFor({ state: 'detached' });
  await page.keyboard.press('Control+b');
  await page.keyboard.press('Alt+ArrowDown');
  await page.locator('.bubble').waitFor();
  await page.goto(`${server.url}/#/c/${chat.id}`);
  await answer(page).getByText('As you wish.').waitFor();
  await page.getByRole('button', { name: 'Commands for this chat' }).focus();
  await page.keyboard.press('Enter');
  await page.locator('[role=menuitem]:focus').waitFor();
  await page.keyboard.press('ArrowDown');
  await page.keyboard.press('Enter');  // the second command: all branches
  await page.locator('.tree button').first().waitFor();
  await page.keyboard.press('Escape');
  // What the eye sees, the Tab key reaches.
  const wanted = ['Search', 'Incognito chat', 'Settings', 'Answer anew', 'Commands for this message', 'Write a message', 'Deep thinking'];
  const reached = new Set();
  for (let i = 0; i < 200 && !wanted.every((name) => reached.has(name)); ++i) {
    await page.keyboard.press('Tab');
    reached.add(await page.evaluate(() => document.activeElement?.getAttribute('aria-label') ?? document.activeElement?.innerText?.trim()));
  }
  assert.deepEqual(wanted.filter((name) => !reached.has(name)), []);
  await page.keyboard.press('Control+Shift+O');
  await page.locator('#composer:focus').waitFor();
});

test('nothing is wider than a phone of 360 px', async () => {
  const chat = await brief(['user', 'Show me everything, on a telephone, in one rather long line of words.'], ['assistant', kRich + '\n' + 'x'.repeat(300)]);
  const page = await visit('/', { size: [360, 740], hasTouch: true, isMobile: true });
  const fits = async (what) => assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= 360 &&
    [...document.querySelectorAll('main > *, .composer-bar > *, .top > *, .hit > *')].every((e) => e.getBoundingClientRect().right <= 360.5)), what);
  await page.locator('.try').first().waitFor();
  await fits('the welcome');
  await page.goto(`${server.url}/#/c/${chat.id}`);
  await page.locator('.katex-display').waitFor();
  await fits('a chat');
  await page.getByRole('button', { name: 'Commands for this message' }).last().click();
  await page.getByRole('menuitem', { name: 'Answers side by side' }).click();
  await page.locator('.column .katex-display').waitFor();
  await fits('side by side');
  assert.ok(await page.locator('dialog').evaluate((d) => d.querySelector('.dialog-inside').scrollWidth <= 360));
  await page.keyboard.press('Escape');
  await page.getByRole('button', { name: 'Show chats' }).click();
  await page.locator('.sidebar').waitFor();
  await fits('the list of chats');
  await page.locator('.scrim').click({ position: { x: 350, y: 400 } });
  await page.keyboard.press('Control+k');
  await page.keyboard.type('telephone');
  await page.locator('.hit').first().waitFor();
  await fits('the search');
  await page.keyboard.press('Escape');
  await page.goto(`${server.url}/#/models`);
  await page.locator('.card').first().waitFor();
  await fits('the models');
});

for (const dark of [false, true])
  test(`axe finds nothing, ${dark ? 'dark' : 'light'}`, async () => {
    const chat = await server.chat({ tags: ['tag'], settings: kBrief },
      ['user', '[file name]: b.txt\n[file content begin]\nB\n[file content end]\nHello'], ['assistant', kRich, 'Some *thinking*.']);
    const page = await visit('/', { dark, bypassCSP: true });
    await page.locator('.try').first().waitFor();
    assert.deepEqual(await findings(page), [], 'the welcome');
    await page.goto(`${server.url}/#/c/${chat.id}`);
    await page.locator('.katex-display').waitFor();
    await page.locator('.fold').click();
    await page.locator('.composer input[type=file]').setInputFiles([{ name: 'a.txt', mimeType: 'text/plain', buffer: Buffer.from('A') }]);
    await page.locator('.waiting').getByText('tokens').waitFor();
    await page.locator('.mine .file-chip').click();
    assert.deepEqual(await findings(page), [], 'a chat');
    for (const [keys, name] of [['Control+k', 'search'], ['Control+,', 'settings'], ['Control+/', 'shortcuts']]) {
      await page.keyboard.press(keys);
      await page.getByRole('dialog').waitFor();
      assert.deepEqual(await findings(page), [], name);
      await page.keyboard.press('Escape');
      await page.getByRole('dialog').waitFor({ state: 'detached' });
    }
    await page.goto(`${server.url}/#/models`);
    await page.locator('.card').first().waitFor();
    assert.deepEqual(await findings(page), [], 'the models');
  });

test('without a network the page still opens, says so, and joins in later', { skip: process.env.FATHOM_URL ? 'not our server' : false }, async () => {
  const page = await visit();
  await page.evaluate(() => navigator.serviceWorker.ready);
  await page.reload();
  await page.locator('.try').first().waitFor();
  await page.context().setOffline(true);
  await page.reload();
  await page.getByRole('heading', { name: 'The server does not answer' }).waitFor();
  await page.context().setOffline(false);
  await page.locator('.try').first().waitFor();
});
