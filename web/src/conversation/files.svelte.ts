// The files that go with the next message: read by the server one after the other, in the order in which they came.
import { app } from '../app.svelte';
import { readFile, type AttachedFile } from './attach';

export class WaitingFiles {
  ready = $state<AttachedFile[]>([]);
  reading = $state<string[]>([]);  // their names
  private queue: Promise<void> = Promise.resolve();

  add(files: Iterable<File>, model: string | null): Promise<void> {
    for (const file of files) {
      this.reading.push(file.name);
      this.queue = this.queue.then(async () => {
        const read = await app.try(() => readFile(file, model));
        this.reading.shift();
        if (read) this.ready.push(read);
      });
    }
    return this.queue;
  }
  remove(index: number): void {
    this.ready.splice(index, 1);
  }
  /// All that are ready; none are left here.
  take(): AttachedFile[] {
    return this.ready.splice(0);
  }
}
