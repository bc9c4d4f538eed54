// Whether the server lets this page in. It is shut when an answer says 401, and opened by the login; what goes on by
// itself (streams) waits here meanwhile.
let shut = false;
let waiting: (() => void)[] = [];

export const gate = {
  /// Called when it is shut; the page then asks for the key.
  onShut: (): void => undefined,
  shut(): void {
    if (shut) return;
    shut = true;
    this.onShut();
  },
  open(): void {
    shut = false;
    for (const go of waiting.splice(0)) go();
  },
  /// Resolves as soon as it is open, or `signal` is aborted.
  opened(signal: AbortSignal): Promise<void> {
    if (!shut || signal.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      waiting.push(resolve);
      signal.addEventListener('abort', () => {
        waiting = waiting.filter((go) => go !== resolve);
        resolve();
      }, { once: true });
    });
  },
};
