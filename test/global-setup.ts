/** The precompiled validators are not committed: tests of the sources make their own. */
export { writeValidators as setup } from '../src/spec/generate.js';
