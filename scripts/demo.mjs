#!/usr/bin/env node
/** `npm run demo [-- --json] [-- --scale 0.1]`: sets up what is missing, builds, then runs src/demo. */
import { setup } from './setup.mjs';
import { fail } from './shared.mjs';

const args = process.argv.slice(2);
const scaleAt = args.indexOf('--scale');
const scale = scaleAt < 0 ? 1 : Number(args[scaleAt + 1]);
const unknown = args.filter((arg, i) => arg !== '--json' && arg !== '--scale' && !(scaleAt >= 0 && i === scaleAt + 1));
if (unknown.length > 0 || !(scale > 0 && scale <= 100)) {
  process.stderr.write('usage: npm run demo -- [--json] [--scale FACTOR]\n');
  process.exit(2);
}
try {
  await setup(['demo']);
} catch (error) {
  fail(error);
}
const { demo } = await import('../dist/demo/main.js');
try {
  process.exit(await demo({ json: args.includes('--json'), scale }));
} catch (error) {
  if (!error?.code || !error?.options) throw error;
  process.stderr.write(`error: ${error.message} (${error.code})\n`);
  for (const hint of error.hints) process.stderr.write(`  try: ${hint}\n`);
  if (error.options.details) process.stderr.write(`${JSON.stringify(error.options.details)}\n`);
  process.exit(error.exit);
}
