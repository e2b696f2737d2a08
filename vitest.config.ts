import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: ['test/global-setup.ts'],
    // What the library can carry it carries, from a program's first call on (docs/library.md); the tests that are about first calls say so.
    env: { DICICLO_PATIENCE: process.env.DICICLO_TEST_PATIENCE ?? '0' },
    // Tests look at what commands write to stdout and stderr.
    disableConsoleIntercept: true,
    maxWorkers: 2,
    // Against hangs alone: the machine may be busy.
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
});
