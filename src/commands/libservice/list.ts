import { DicicloCommand } from '../../cli/command.js';
import { outputFlags } from '../../cli/flags.js';
import { type LibserviceAnswer, libserviceAnswer } from '../../cli/libservices.js';
import { listView } from '../../cli/output.js';

const view = listView<LibserviceAnswer>(
  [
    { title: 'LIBSERVICE', value: ({ type }) => type },
    { title: 'KIND', value: ({ kind }) => kind },
    { title: 'SUMMARY', value: ({ summary }) => summary },
    { title: 'OPTIONS', value: ({ options }) => options.map(({ name }) => name).join(' '), wide: true },
    {
      title: 'CHILDREN',
      value: ({ children }) => children.map(({ role, kind }) => `${role}:${kind}`).join(' '),
      wide: true,
    },
  ],
  ({ type }) => type,
  'There are no libservices.',
);

export default class LibserviceList extends DicicloCommand {
  static override summary = 'List the libservices that stacks are made of';
  static override examples = ['<%= config.bin %> libservice list', '<%= config.bin %> libservice list -o wide'];
  static override flags = { ...outputFlags };

  async run(): Promise<readonly LibserviceAnswer[]> {
    const { flags } = await this.parse(LibserviceList);
    const { libservices } = await import('../../libservices/index.js');
    return this.show(libservices.map(libserviceAnswer), view, flags);
  }
}
