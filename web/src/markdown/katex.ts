// A chunk of its own, fetched for the first formula.
import 'katex/dist/katex.min.css';
export { default } from 'katex';
