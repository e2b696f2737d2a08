#!/usr/bin/env python3
"""What programs do past libc's symbols: the same on a host directory and on a mount; carried under dispatch, operation by operation, and without it not at all.

usage: dispatch.py BUILD PROGRAM
"""
import difflib, os, subprocess, sys

sys.dont_write_bytecode = True  # beside the sources
os.environ['SYSCALLS'] = 'dispatch'
from pool import SKIP, Pool

build, program = sys.argv[1:]
# What the program's own calls come to, at least: each of them by number. A call that went elsewhere is missing here.
EXPECTED = {'open': 3, 'read': 3, 'write': 3, 'close': 4, 'getattr': 3, 'setattr': 4, 'fsync': 1, 'fallocate': 1, 'readdir': 2, 'mkdir': 2, 'rename': 1, 'link': 1, 'symlink': 1,
            'readlink': 1, 'access': 1, 'unlink': 3, 'rmdir': 1}


def run(argv, where):
    result = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, timeout=200)
    return result.stdout.decode(errors='replace').replace(where, 'DIR').splitlines() + [f'status {result.returncode}']


failed = False
with Pool(build) as pool:
    if not pool.dispatches():
        print('this kernel has no system call dispatch')
        sys.exit(SKIP)
    for mode in ([], ['inline']):
        pool.reset()
        expected, seen = run([program, pool.host] + mode, pool.host), run(pool.inside([program, pool.mount] + mode), pool.mount)
        library, kernel, uncarried = pool.stats()
        print(mode or 'all', 'library', library, 'kernel', kernel, 'not carried', uncarried)
        if expected != seen:
            failed = True
            print('\n'.join(difflib.unified_diff(expected, seen, 'host', 'dispatched', lineterm='')))
        few = {name: library.get(name, 0) for name, count in EXPECTED.items() if library.get(name, 0) < count}
        if few:
            failed = True
            print('carried too little:', few)
    if sum(kernel.values()) > 15:  # fchdir and the map have the kernel look things up
        failed = True
        print('too much through the kernel door:', kernel)
    pool.reset()
    os.environ['SYSCALLS'] = 'symbols'
    seen = run(pool.inside([program, pool.mount, 'inline']), pool.mount)
    library, kernel, uncarried = pool.stats()
    if seen != expected or library:
        failed = True
        print('without dispatch', library, '\n'.join(difflib.unified_diff(expected, seen, 'host', 'kernel door', lineterm='')))
sys.exit(failed)
