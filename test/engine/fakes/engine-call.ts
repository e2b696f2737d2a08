/** One call of the engine in a process of its own, for tests that kill it: `apply SPEC.json` or `delete TENANT`. */
import { readFileSync } from 'node:fs';
import { createEngine, type TenantSpec } from '../../../src/engine/index.js';

const [call, argument = ''] = process.argv.slice(2);
const engine = createEngine();
if (call === 'apply') await engine.apply(JSON.parse(readFileSync(argument, 'utf8')) as TenantSpec);
else if (call === 'delete') await engine.deleteTenant(argument);
