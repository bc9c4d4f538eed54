import { mount } from 'svelte';
import './app.css';
import './markdown/markdown.css';
import App from './App.svelte';

mount(App, { target: document.getElementById('app')! });
if ('serviceWorker' in navigator && import.meta.env.PROD) void navigator.serviceWorker.register('/sw.js').catch(() => undefined);
