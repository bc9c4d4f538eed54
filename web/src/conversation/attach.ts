// Files in a message, in the form that DeepSeek has published: each file's name and text stand before the question.
import { api } from '../api/client';

export interface AttachedFile {
  name: string;
  text: string;
  tokens?: number;  // as the model counts them, once the server has read the file
}

const oneLine = (name: string): string => name.replace(/[\r\n]+/g, ' ').trim() || 'file';

/// What the model is given.
export function withFiles(files: AttachedFile[], question: string): string {
  const blocks = files.map(({ name, text }) =>
    `[file name]: ${oneLine(name)}\n[file content begin]\n${text.replace(/\n$/, '')}\n[file content end]\n`);
  return blocks.join('') + question;
}

const kFile = /^\[file name\]: (.*)\n\[file content begin\]\n([\s\S]*?)\n\[file content end\](?:\n|$)/;

/// The files at a message's beginning, and what follows them: what `withFiles` has put together.
export function inParts(content: string): { files: AttachedFile[]; question: string } {
  const files: AttachedFile[] = [];
  let question = content;
  for (let found = kFile.exec(question); found; found = kFile.exec(question)) {
    files.push({ name: found[1]!, text: found[2]! });
    question = question.slice(found[0].length);
  }
  return { files, question };
}

/// One line that stands for a message, in lists.
export function inShort(content: string): string {
  const { files, question } = inParts(content);
  return question.trim() || files.map((file) => file.name).join(', ');
}

/// The server reads it: text in UTF-8, and PDF. Throws ApiError where it cannot.
export const readFile = (file: File, model: string | null): Promise<Required<AttachedFile>> =>
  api.fileText(file, oneLine(file.name).slice(0, 200), model);
