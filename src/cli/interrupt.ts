/** Ctrl-C: the first asks the work to stop at the next safe point, the second (or three seconds) ends the process. Nothing is lost: every command can be repeated. */

const GRACE_MILLISECONDS = 3000;
const INTERRUPTED = 130;

export class Interrupt {
  private readonly controller = new AbortController();
  private timer: NodeJS.Timeout | undefined;
  private readonly onSignal = () => {
    if (this.controller.signal.aborted) process.exit(INTERRUPTED);
    this.controller.abort(new Error('interrupted'));
    this.timer = setTimeout(() => process.exit(INTERRUPTED), GRACE_MILLISECONDS);
    this.timer.unref();
  };

  constructor() {
    process.on('SIGINT', this.onSignal);
  }

  get signal(): AbortSignal {
    return this.controller.signal;
  }

  /** Ctrl-C has its usual effect again. */
  release(): void {
    process.off('SIGINT', this.onSignal);
    clearTimeout(this.timer);
  }

  /** Resolves after `milliseconds`, or at once when interrupted. */
  async sleep(milliseconds: number): Promise<void> {
    if (this.signal.aborted) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, milliseconds);
      this.signal.addEventListener(
        'abort',
        () => {
          clearTimeout(timer);
          resolve();
        },
        { once: true },
      );
    });
  }
}
