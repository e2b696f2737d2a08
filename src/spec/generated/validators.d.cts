/** Written by src/spec/generate.ts at build; not committed. */
import type { ErrorObject } from 'ajv';

type Validator = ((data: unknown) => boolean) & { errors?: ErrorObject[] | null };
declare const validators: { tenant: Validator; stack: Validator };
export = validators;
