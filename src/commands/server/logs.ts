import * as Args from '@oclif/core/args';
import { DicicloCommand } from '../../cli/command.js';
import { Flags } from '../../cli/flags.js';
import { ExitStatus } from '../../engine/types.js';

interface LogsAnswer {
  pool: string;
  server: string;
  file: string;
  lines: string[];
}

export default class ServerLogs extends DicicloCommand {
  static override summary = 'Print what a server wrote to its stdout and stderr';
  static override examples = [
    '<%= config.bin %> server logs db redis',
    '<%= config.bin %> server logs db redis --lines 20 --follow',
  ];
  static override args = {
    pool: Args.string({ description: 'pool, as NAME or TENANT/NAME', required: true }),
    server: Args.string({ description: 'name of the server', required: true }),
  };
  static override flags = {
    lines: Flags.integer({ char: 'n', description: 'how many of the last lines', default: 200, min: 0, max: 100_000 }),
    follow: Flags.boolean({
      char: 'f',
      description: 'go on printing what it writes, until Ctrl-C',
      exclusive: ['json'],
    }),
  };

  async run(): Promise<LogsAnswer> {
    const { args, flags } = await this.parse(ServerLogs);
    const file = await (await this.engine()).serverLog(args.pool, args.server);
    const { followFile, lastLines } = await import('../../cli/tail.js');
    const { lines, end } = await lastLines(file, flags.lines);
    const answer = { pool: args.pool, server: args.server, file, lines };
    if (this.json) this.write(`${JSON.stringify(answer, null, 2)}\n`);
    else for (const line of lines) this.write(`${line}\n`);
    if (flags.follow && this.interrupt) {
      await followFile(file, end, (text) => this.write(text), this.interrupt);
      this.exit(ExitStatus.interrupted);
    }
    return answer;
  }
}
