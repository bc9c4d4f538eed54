import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig } from 'vitest/config';
import { mockServer } from './dev/mock.js';

// KaTeX names each font in three formats; every browser that can run this page takes the first.
const onlyWoff2 = {
  name: 'only-woff2',
  enforce: 'pre' as const,
  transform(code: string, id: string) {
    return id.includes('katex') && id.endsWith('.css')
      ? code.replace(/,\s*url\([^)]*\.(?:woff|ttf)\)\s*format\([^)]*\)/g, '')
      : undefined;
  },
};

export default defineConfig({
  plugins: [onlyWoff2, svelte(), mockServer()],
  build: { target: 'es2022', assetsInlineLimit: 0, modulePreload: { polyfill: false }, chunkSizeWarningLimit: 700 },
  test: { include: ['tests/**/*.test.ts'], environment: 'node', testTimeout: 120_000 },
});
