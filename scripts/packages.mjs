/**
 * The Debian packages that the parts of the project need, by purpose.
 */
export const packages = {
  build: ['gcc', 'g++', 'libc6-dev', 'meson', 'ninja-build', 'pkg-config', 'libfuse3-dev', 'fuse3', 'libjansson-dev'],
  demo: ['rocksdb-tools', 'redis-server', 'redis-tools'],
  test: [
    'clang',
    'libclang-rt-14-dev',
    'postgresql-15',
    'sqlite3',
    'strace',
    'rsync',
    'liburing-dev',
    'acl',
    'attr',
    'psmisc',
    'kmod',
    'busybox-static',
    'qemu-system-x86',
    'linux-image-amd64',
    'fio',
    'stress-ng',
    'dbench',
    'libpython3.11-testsuite',
    'libtool',
    'libltdl-dev',
  ],
  bench: ['fuse-overlayfs', 'xz-utils'],
};
/** What each group always takes along. */
export const needs = { build: [], demo: ['build'], test: ['build', 'demo'], bench: ['build', 'demo'] };
