/** The server kinds: what this version has, and what the design names beyond it. */

/** Sorted. */
export const serverKinds = ['process'] as const;

/** Refused by name, not as a spelling mistake. */
export const plannedServers: readonly string[] = ['ceph', 'iscsi', 'mds', 'nbd', 'nfs', 'osd', 'registry', 's3'];
