import * as Args from '@oclif/core/args';
import { DicicloCommand } from '../cli/command.js';
import { outputFlags } from '../cli/flags.js';
import { findingsView } from '../cli/views.js';
import { ExitStatus, type Finding } from '../engine/types.js';

export default class Doctor extends DicicloCommand {
  static override summary = 'Look at this machine for what Diciclo needs';
  static override description =
    'Rights, kernel features, packages and what has been built, each with the command that mends it. With PROGRAM it also says which door that program will use and why. Exit status 6 when something is missing.';
  static override examples = [
    '<%= config.bin %> doctor',
    '<%= config.bin %> doctor db_bench',
    '<%= config.bin %> doctor --json',
  ];
  static override args = { program: Args.string({ description: 'program to judge, by path or by name in PATH' }) };
  static override flags = { ...outputFlags };

  /** Tests put a fake in its place. */
  static examine: (program?: string) => Promise<Finding[]> = async (program) =>
    (await import('../engine/doctor.js')).doctor(program);

  async run(): Promise<{ ok: boolean; findings: Finding[] }> {
    const { args, flags } = await this.parse(Doctor);
    const findings = await Doctor.examine(args.program);
    const ok = findings.every((finding) => finding.status !== 'missing');
    const answer = await this.show({ ok, findings }, findingsView, flags);
    if (!ok) this.exit(ExitStatus.prerequisite);
    return answer;
  }
}
