import { describe, expect, it } from 'vitest';
import { parseHierarchies } from '../../src/engine/resources/detect.js';
import { formatCpuList, parseCpuList } from '../../src/engine/resources/files.js';
import { cgroupVersion, groupsWritable } from './harness.js';
import { resourcesSuite } from './resources.suite.js';

describe.skipIf(!groupsWritable())(`resources on control groups v${cgroupVersion}`, resourcesSuite);

describe('controllers by mount table', () => {
  const v1 = (name: string, mount = name) =>
    `30 24 0:26 / /sys/fs/cgroup/${mount} rw,relatime - cgroup cgroup rw,${name}`;
  const v2 = '40 24 0:30 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw';

  it('takes each controller where it is', () => {
    const found = parseHierarchies(
      [v1('memory'), v1('cpu,cpuacct', 'cpu'), v1('blkio'), v1('name=systemd', 'systemd'), v2].join('\n'),
      () => 'pids cpuset hugetlb',
    );
    expect(found).toEqual({
      memory: { version: 1, mount: '/sys/fs/cgroup/memory' },
      cpu: { version: 1, mount: '/sys/fs/cgroup/cpu' },
      cpuacct: { version: 1, mount: '/sys/fs/cgroup/cpu' },
      io: { version: 1, mount: '/sys/fs/cgroup/blkio' },
      pids: { version: 2, mount: '/sys/fs/cgroup/unified' },
      cpuset: { version: 2, mount: '/sys/fs/cgroup/unified' },
    });
  });

  it('knows a pure v2 machine, an empty v2 beside v1, and none at all', () => {
    expect(
      parseHierarchies('40 24 0:30 / /sys/fs/cgroup rw shared:9 - cgroup2 cgroup2 rw', () => 'cpu memory'),
    ).toEqual({
      cpu: { version: 2, mount: '/sys/fs/cgroup' },
      memory: { version: 2, mount: '/sys/fs/cgroup' },
    });
    expect(Object.keys(parseHierarchies([v1('memory'), v2].join('\n'), () => ''))).toEqual(['memory']);
    expect(parseHierarchies('1 1 8:1 / / rw - ext4 /dev/sda rw\n\nnonsense', () => '')).toEqual({});
  });

  it('reads and writes CPU lists', () => {
    expect(parseCpuList('0-2,5,7-8')).toEqual([0, 1, 2, 5, 7, 8]);
    expect(parseCpuList('')).toEqual([]);
    expect(formatCpuList([5, 0, 1])).toBe('0,1,5');
  });
});
