import * as Args from '@oclif/core/args';
import { DicicloCommand } from '../../cli/command.js';
import { outputFlags } from '../../cli/flags.js';
import { type LibserviceAnswer, libserviceAnswer } from '../../cli/libservices.js';
import { renderFields, renderTable, type View } from '../../cli/output.js';
import { DicicloError, ExitStatus } from '../../engine/types.js';

const view: View<LibserviceAnswer> = {
  text: ({ type, kind, version, summary, options, children, statistics }) => {
    const fields = renderFields({ libservice: type, kind, version, summary, statistics: statistics.join(' ') || null });
    const optionTable = renderTable(options, [
      { title: 'OPTION', value: (option) => option.name },
      { title: 'TYPE', value: (option) => (option.values ? option.values.join('|') : option.type) },
      { title: 'DEFAULT', value: (option) => (option.required ? 'required' : option.default) },
      { title: 'HELP', value: (option) => option.help },
    ]);
    const childTable = renderTable(children, [
      { title: 'CHILD', value: (child) => child.role },
      { title: 'KIND', value: (child) => child.kind },
      { title: 'COUNT', value: (child) => (child.min === child.max ? String(child.min) : `${child.min}-${child.max}`) },
      { title: 'HELP', value: (child) => child.help },
    ]);
    return `${fields}${options.length > 0 ? `\n${optionTable}` : ''}${children.length > 0 ? `\n${childTable}` : ''}`;
  },
  names: ({ type }) => [type],
};

export default class LibserviceShow extends DicicloCommand {
  static override summary = 'Show one libservice: its options, children and counters';
  static override examples = [
    '<%= config.bin %> libservice show cache',
    '<%= config.bin %> libservice show cache --json',
  ];
  static override args = { libservice: Args.string({ description: 'name of the libservice', required: true }) };
  static override flags = { ...outputFlags };

  async run(): Promise<LibserviceAnswer> {
    const { args, flags } = await this.parse(LibserviceShow);
    const { findLibservice, libservices, plannedLibservices } = await import('../../libservices/index.js');
    const { suggest } = await import('../../spec/suggest.js');
    const libservice = findLibservice(args.libservice);
    if (!libservice) {
      const planned = plannedLibservices.includes(args.libservice);
      const guess = suggest(
        args.libservice,
        libservices.map(({ type }) => type),
      );
      throw new DicicloError(
        'LIBSERVICE_NOT_FOUND',
        planned
          ? `The libservice ${args.libservice} is not part of this version.`
          : `There is no libservice "${args.libservice.slice(0, 80)}"${guess ? `; did you mean "${guess}"?` : '.'}`,
        { exit: ExitStatus.notFound, hints: ['diciclo libservice list'] },
      );
    }
    return this.show(libserviceAnswer(libservice), view, flags);
  }
}
