import * as Args from '@oclif/core/args';
import { DicicloCommand } from '../../cli/command.js';
import { durationFlag } from '../../cli/flags.js';
import type { UpgradeSummary } from '../../engine/types.js';

export default class ServiceUpgrade extends DicicloCommand {
  static override summary = "Replace a pool's running service by the installed one";
  static override description =
    'The running service finishes what it has begun and hands over; open files, locks and mappings go on, requests wait for the few milliseconds between. A service that does not start is given up for the one before.';
  static override examples = [
    '<%= config.bin %> service upgrade db',
    '<%= config.bin %> service upgrade acme/db --json',
    'DICICLO_BUILD_DIR=/opt/diciclo-2/build <%= config.bin %> service upgrade db',
  ];
  static override args = {
    pool: Args.string({ description: 'pool, as NAME or TENANT/NAME', required: true }),
  };
  static override flags = { timeout: durationFlag('timeout', 'give up after this time (exit status 8)') };

  async run(): Promise<UpgradeSummary> {
    const { args, flags } = await this.parse(ServiceUpgrade);
    const summary = await (await this.engine()).upgradeService(args.pool, await this.callOptions(flags));
    await this.endProgress();
    const doubt = summary.drained
      ? ''
      : ' The one before did not finish in time and was killed: its log says what is in doubt.';
    return this.answer(
      summary,
      `Pool ${summary.pool} has another service, pid ${summary.pid}: requests waited ${summary.milliseconds} ms.${doubt}`,
    );
  }
}
