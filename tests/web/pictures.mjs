// Pictures of the main views for docs/images, taken on demand:
//   FATHOM_BIN=build/release/src/fathom FATHOM_MODEL=MODEL.gguf node tests/web/pictures.mjs [FOLDER]
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { launch, open, Server } from './_server.mjs';

const folder = process.argv[2] ?? new URL('../../docs/images', import.meta.url).pathname;
mkdirSync(folder, { recursive: true });
const server = await new Server({ thinks: true }).start();
const browser = await launch();

const kThinking = 'The question has two parts: the blue of the day and the red of the evening.\n\n' +
  'Air is far smaller than a wavelength, so this is Rayleigh scattering, which goes with $1/\\lambda^4$. ' +
  'Blue at 450 nm against red at 700 nm: $(700/450)^4 \\approx 5.9$.\n\nViolet scatters even more, but the sun gives less of it and our eyes see it badly.';
const kAnswer = 'Sunlight holds **all colours**, and air scatters the short waves far more than the long ones:\n\n' +
  '$$I \\propto \\frac{1}{\\lambda^4}$$\n\n| Colour | Wavelength | Scattered |\n| --- | ---: | ---: |\n| blue | 450 nm | 5.9 |\n| green | 530 nm | 3.0 |\n| red | 700 nm | 1.0 |\n\n' +
  'You can check it:\n\n```python\ndef scattered(nm: float) -> float:\n    """How much more than red light."""\n    return (700 / nm) ** 4\n\nprint(scattered(450))  # 5.86\n```\n\n' +
  'In the evening the way through the air is long: the blue is gone before it reaches you, and what is left is red.';

await server.chat({ title: 'Packing list for the Baltic', tags: ['travel'] }, ['user', 'What do I pack for a week of sailing?'], ['assistant', 'Layers.']);
await server.chat({ title: 'Proof that √2 is irrational' }, ['user', 'Prove that the square root of two is irrational.'], ['assistant', 'Suppose not.']);
await server.chat({ title: 'Letter to the landlord', pinned: true }, ['user', 'Draft a letter about the heating.'], ['assistant', 'Dear Sir.']);
const chat = await server.chat({}, ['user', 'Why is the sky blue, and why are sunsets red?'], ['assistant', kAnswer, kThinking]);
const asked = await server.chat({ title: 'Light and air', settings: { thinking: false, max_tokens: 48, seed: 5, temperature: 0.8 } });
let said = false;
const guarded = await new Server({ key: 'correct-horse-battery' }).start();

for (const [device, size] of [['desktop', [1280, 860]], ['phone', [360, 760]]])
  for (const dark of [false, true]) {
    const page = await open(browser, server.url, { size, dark });
    const shot = (name) => page.screenshot({ path: join(folder, `app-${name}-${device}-${dark ? 'dark' : 'light'}.png`) });
    await page.locator('.try').first().waitFor();
    await shot('welcome');
    await page.goto(`${server.url}/#/c/${chat.id}`);
    await page.locator('.katex-display').waitFor();
    await page.locator('.hljs-keyword').first().waitFor();
    await page.evaluate(() => document.fonts.ready);
    await shot('chat');
    await page.locator('.fold').click();
    await page.locator('.scroller').evaluate((e) => e.scrollTo(0, 0));
    await page.locator('.thinking-text .katex').first().waitFor();
    await shot('thinking');
    await page.keyboard.press('Control+k');
    await page.keyboard.type('blue');
    await page.locator('.hit').first().waitFor();
    await shot('search');
    await page.goto('about:blank');
    await page.goto(`${server.url}/#/c/${asked.id}`);
    await page.getByRole('heading', { name: 'Light and air' }).waitFor();
    if (!said) {
      await page.locator('#composer').fill('Why is the sky blue?');
      await page.keyboard.press('Enter');
      said = true;
    }
    await page.getByRole('button', { name: 'About this answer' }).click();
    await page.getByRole('button', { name: 'Show the tokens' }).click();
    await page.locator('.token-text .token').nth(9).hover();
    await page.locator('.token-card').waitFor();
    await shot('tokens');
    await page.goto(`${server.url}/#/models`);
    await page.getByRole('heading', { name: 'Get another model' }).waitFor();
    await page.locator('.recommended').first().waitFor();
    await shot('models');
    await page.goto(guarded.url);
    await page.getByLabel('Password or key').waitFor();
    await shot('login');
    await page.context().close();
  }
await browser.close();
await server.close();
await guarded.close();
