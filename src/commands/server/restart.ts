import * as Args from '@oclif/core/args';
import { DicicloCommand } from '../../cli/command.js';
import { durationFlag } from '../../cli/flags.js';
import type { ServerSummary } from '../../engine/types.js';

export default class ServerRestart extends DicicloCommand {
  static override summary = 'Stop a server and start it again';
  static override description = 'It gets its stop signal, and KILL after its grace period.';
  static override examples = [
    '<%= config.bin %> server restart db redis',
    '<%= config.bin %> server restart acme/db redis --timeout 1m',
  ];
  static override args = {
    pool: Args.string({ description: 'pool, as NAME or TENANT/NAME', required: true }),
    server: Args.string({ description: 'name of the server', required: true }),
  };
  static override flags = { timeout: durationFlag('timeout', 'give up after this time (exit status 8)') };

  async run(): Promise<ServerSummary> {
    const { args, flags } = await this.parse(ServerRestart);
    const summary = await (await this.engine()).restartServer(args.pool, args.server, await this.callOptions(flags));
    await this.endProgress();
    return this.answer(
      summary,
      `Server ${summary.name} of pool ${summary.pool} is ${summary.state}${summary.pid === null ? '' : `, pid ${summary.pid}`}.`,
    );
  }
}
