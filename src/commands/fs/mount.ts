import * as Args from '@oclif/core/args';
import { DicicloCommand } from '../../cli/command.js';
import { changeFlags, checkName, Flags } from '../../cli/flags.js';
import { DicicloError, ExitStatus, type MountSummary } from '../../engine/types.js';

export default class FsMount extends DicicloCommand {
  static override summary = 'Mount a stack of libservices in a pool';
  static override description =
    'The stack is what a spec says below `stack`, written as YAML in one line: a list from the top down. The mount is seen inside the pool only; --host also shows its kernel door on the host, at the same path.';
  static override examples = [
    "<%= config.bin %> fs mount db /data --stack '[cache: {size: 64Mi}, local: {path: /srv/x}]'",
    "<%= config.bin %> fs mount acme/db /data --name data --host --stack '{local: {path: /srv/x, readOnly: true}}'",
  ];
  static override args = {
    pool: Args.string({ description: 'pool, as NAME or TENANT/NAME', required: true }),
    mountpoint: Args.string({ description: 'absolute path inside the pool', required: true }),
  };
  static override flags = {
    stack: Flags.string({ description: 'the stack, as YAML', helpValue: 'YAML', required: true }),
    host: Flags.boolean({ description: 'also show the kernel door on the host' }),
    name: Flags.string({ description: 'name of the filesystem (default: made of the mount point)', helpValue: 'N' }),
    'kernel-cache': Flags.option({
      description: 'whether the kernel may cache what it read through the kernel door',
      options: ['auto', 'none'] as const,
      default: 'auto' as const,
    })(),
    ...changeFlags,
  };

  async run(): Promise<MountSummary> {
    const { args, flags } = await this.parse(FsMount);
    const { mountProblem, parseStack } = await import('../../spec/index.js');
    const problem = mountProblem(args.mountpoint);
    if (problem) throw new DicicloError('USAGE', `The mount point ${problem}.`, { exit: ExitStatus.usage });
    const stack = parseStack(flags.stack, '--stack');
    const name = checkName('filesystem', flags.name ?? nameOf(args.mountpoint));
    const filesystem = {
      name,
      mount: args.mountpoint,
      host: flags.host === true,
      door: { cache: flags['kernel-cache'] },
      stack,
    };
    const summary = await (await this.engine()).mount(args.pool, filesystem, await this.callOptions(flags));
    await this.endProgress();
    const done = flags['dry-run'] ? 'can be mounted' : 'is mounted';
    return this.answer(summary, `${summary.stack} ${done} at ${summary.mountpoint} in pool ${summary.pool}.`);
  }
}

/** `/var/lib/Db` -> `var-lib-db`. */
function nameOf(mountpoint: string): string {
  const name = mountpoint
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .slice(0, 64);
  return name.replace(/^-|-$/g, '').slice(0, 63).replace(/-$/, '') || 'data';
}
