// A text field as high as its text; CSS bounds it.
import type { Attachment } from 'svelte/attachments';

export const grow = (value: () => string): Attachment<HTMLTextAreaElement> => (field) => {
  void value();
  field.style.height = 'auto';
  field.style.height = `${field.scrollHeight + 2}px`;
};
