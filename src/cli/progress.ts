/** Shows the engine's events on stderr: a live list on a terminal, plain lines elsewhere. */
import type { EngineEvent } from '../engine/types.js';

interface Step {
  title: string;
  finished: Promise<void>;
  finish: (error?: Error) => void;
}

/** One line when a step is done or has failed. */
export class PlainProgress {
  constructor(private readonly write: (text: string) => void) {}

  readonly sink = (event: EngineEvent): void => {
    if (event.type === 'done') this.write(`done: ${event.title}\n`);
    else if (event.type === 'failed') this.write(`failed: ${event.title}\n`);
    else if (event.type === 'info') this.write(`${event.title}\n`);
  };

  async close(): Promise<void> {}
}

/** Steps as a live list. Those that run together are drawn together; what starts while they do is drawn next. */
export class LiveProgress {
  private readonly steps = new Map<string, Step>();
  private waiting: Step[] = [];
  private drawing: Promise<void> | undefined;

  readonly sink = (event: EngineEvent): void => {
    if (event.type === 'start') this.start(event);
    else if (event.type === 'done' || event.type === 'failed') {
      if (!this.steps.has(event.step)) this.start(event);
      this.steps
        .get(event.step)
        ?.finish(event.type === 'failed' ? new Error(event.error?.message ?? event.title) : undefined);
      this.steps.delete(event.step);
    }
  };

  /** Ends what is still drawn, and waits until the last line stands. */
  async close(): Promise<void> {
    for (const step of this.steps.values()) step.finish(new Error(step.title));
    this.steps.clear();
    await this.drawing;
  }

  private start(event: EngineEvent): void {
    if (this.steps.has(event.step)) return;
    let settle: (error?: Error) => void = () => {};
    const finished = new Promise<void>((resolve, reject) => {
      settle = (error) => (error ? reject(error) : resolve());
    });
    finished.catch(() => {});
    const step: Step = { title: event.title, finished, finish: settle };
    this.steps.set(event.step, step);
    this.waiting.push(step);
    this.drawing ??= this.draw();
  }

  private async draw(): Promise<void> {
    const { Listr, ListrLogger, ProcessOutput } = await import('listr2');
    const logger = new ListrLogger({
      useIcons: true,
      toStderr: [],
      processOutput: new ProcessOutput(process.stderr, process.stderr),
    });
    while (this.waiting.length > 0) {
      const batch = this.waiting;
      this.waiting = [];
      const tasks = batch.map((step) => ({ title: step.title, task: () => step.finished }));
      const list = new Listr(tasks, {
        concurrent: true,
        exitOnError: false,
        registerSignalListeners: false,
        renderer: 'default',
        rendererOptions: { logger },
      });
      await list.run();
    }
    this.drawing = undefined;
  }
}
