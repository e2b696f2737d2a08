/** `diciclo run` in a process of its own, for tests that send it signals: POOL SCRIPT. */
import { createEngine } from '../../../src/engine/index.js';

const [pool = '', script = ''] = process.argv.slice(2);
process.exitCode = await createEngine().run(pool, ['bash', '-c', script], { door: 'kernel' });
