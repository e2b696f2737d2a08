import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: ['test/global-setup.ts'],
    // Tests look at what commands write to stdout and stderr.
    disableConsoleIntercept: true,
    maxWorkers: 2,
    // Against hangs alone: the machine may be busy.
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
});
