import * as Args from '@oclif/core/args';
import { DicicloCommand } from '../cli/command.js';
import { Flags } from '../cli/flags.js';
import { DicicloError, ExitStatus } from '../engine/types.js';

export default class Run extends DicicloCommand {
  static override summary = 'Run a command inside a pool';
  static override description =
    'The command sees the files of the host as they are and the filesystems of the pool at their mount points. Working directory, environment, stdin, stdout, terminal and signals are passed on, and its exit status is the exit status (126: not executable, 127: not found, 128+N: ended by signal N). Everything after -- is the command.';
  static override usage = 'run POOL [--door library|kernel] [--syscalls symbols|dispatch] [--cwd DIR] -- COMMAND...';
  static override examples = [
    '<%= config.bin %> run db -- ls -l /data',
    '<%= config.bin %> run acme/db --door kernel -- db_bench --db=/data/bench',
    '<%= config.bin %> run db --syscalls dispatch -- ./own-calls',
    'echo hello | <%= config.bin %> run db -- tee /data/hello',
  ];
  static override args = { pool: Args.string({ description: 'pool, as NAME or TENANT/NAME', required: true }) };
  static override flags = {
    door: Flags.option({
      description: 'library: the shared-memory library, with the kernel door beneath it; kernel: no library',
      options: ['library', 'kernel'] as const,
      default: 'library' as const,
    })(),
    syscalls: Flags.option({
      description:
        'symbols: the library carries what goes through functions of the C library; dispatch: system calls that programs and the C library make themselves too (x86-64, Linux 5.11), at some three microseconds for every system call that stays with the kernel',
      options: ['symbols', 'dispatch'] as const,
      default: 'symbols' as const,
    })(),
    cwd: Flags.string({
      description: 'working directory, as the pool sees it; this one when not given',
      helpValue: 'DIR',
    }),
  };
  protected override readonly interruptible = false;

  async run(): Promise<void> {
    const end = this.argv.indexOf('--');
    const command = end < 0 ? [] : this.argv.slice(end + 1);
    const { args, flags } = await this.parse(Run, end < 0 ? this.argv : this.argv.slice(0, end));
    if (command.length === 0) {
      throw new DicicloError('USAGE', 'The command is missing.', {
        exit: ExitStatus.usage,
        hints: [`put it after --: diciclo run ${args.pool} -- ls -l /data`],
      });
    }
    const engine = await this.engine();
    this.exit(
      await engine.run(args.pool, command, {
        door: flags.door,
        syscalls: flags.syscalls,
        ...(flags.cwd === undefined ? {} : { cwd: flags.cwd }),
      }),
    );
  }
}
