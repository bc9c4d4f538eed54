// Keeps the page's own files, so that it opens without the server and says so. What the server answers is never kept.
const kCache = 'fathom-shell';

self.addEventListener('install', (event) => {
  event.waitUntil(caches.open(kCache).then((cache) => cache.add('/')).then(() => self.skipWaiting()));
});
self.addEventListener('activate', (event) => event.waitUntil(self.clients.claim()));

/// The newest page where the server answers, else the last one; files that carry their hash come from the cache.
async function answer(request, page) {
  const cache = await caches.open(kCache);
  const kept = await cache.match(page ? '/' : request);
  if (kept && !page) return kept;
  try {
    const fresh = await fetch(request);
    if (fresh.ok) {
      if (page) await forgetOldFiles(cache, await fresh.clone().text());
      await cache.put(page ? '/' : request, fresh.clone());
    }
    return fresh;
  } catch (error) {
    if (kept) return kept;
    throw error;
  }
}

/// Of an older build: only when the page names other files than those kept.
async function forgetOldFiles(cache, html) {
  const names = [...html.matchAll(/\/assets\/[\w.-]+/g)].map((m) => m[0]);
  const kept = (await cache.keys()).map((r) => new URL(r.url).pathname);
  if (names.every((name) => kept.includes(name))) return;
  await Promise.all(kept.filter((path) => path.startsWith('/assets/')).map((path) => cache.delete(path)));
}

self.addEventListener('fetch', (event) => {
  const url = new URL(event.request.url);
  if (event.request.method !== 'GET' || url.origin !== location.origin) return;
  const page = event.request.mode === 'navigate' && url.pathname === '/';
  if (page || url.pathname.startsWith('/assets/') || url.pathname === '/icon.svg') event.respondWith(answer(event.request, page));
});
