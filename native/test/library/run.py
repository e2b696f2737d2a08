#!/usr/bin/env python3
"""Runs a program on a host directory and, under the library, on a mount of a pool of its own; compares what it printed, and checks the counters.

usage: run.py BUILD KIND PROGRAM...     KIND: program (argument: the directory) or script (a shell script with that argument)
Environment: CARRIED, the share of the operations that must have gone through the library; LIBRARY, another library; TRUST, pool or process; MODE, of the cache; SPACE, of both directories, bytes;
SYSCALLS, symbols or dispatch; ROUTINE, by which all is copied; TIMEOUT, seconds.
Skipped (77) where a pool cannot be made: it needs root and /dev/fuse.
"""
import difflib, os, subprocess, sys

sys.dont_write_bytecode = True  # beside the sources
from pool import SKIP, Pool

build, kind, *command = sys.argv[1:]


def run(where, wrap):
    argv = wrap((['bash'] if kind == 'script' else []) + command + [where])
    result = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, timeout=int(os.environ.get('TIMEOUT', '240')))
    text = result.stdout.decode(errors='replace').replace(where, 'DIR')
    return text.splitlines() + [f'status {result.returncode}']


with Pool(build) as pool:
    if os.environ.get('SYSCALLS') == 'dispatch' and not pool.dispatches():
        print('this kernel has no system call dispatch')
        sys.exit(SKIP)
    expected, seen = run(pool.host, lambda argv: argv), run(pool.mount, pool.inside)
    status = 0
    if expected != seen:
        status = 1
        print('\n'.join(difflib.unified_diff(expected, seen, 'host', 'library', lineterm='')))
    library, kernel, uncarried = pool.stats()
    count = {'library': sum(library.values()), 'kernel': sum(kernel.values())}
    share = count['library'] / max(1, sum(count.values()))
    print('carried', count, 'not carried', uncarried)
    trust = os.environ.get('TRUST', 'pool')
    if pool.queue['transport'] != {'pool': 'queue', 'process': 'mailboxes'}[trust] or not pool.queue['dequeued']:
        status = 1
        print('the wrong transport:', pool.queue)
    if 'ROUTINE' in os.environ and (pool.copy['profile'] != 'used' or {row['routine'] for row in pool.copy['routines']} != {os.environ['ROUTINE']}):
        status = 1
        print('other routines:', pool.copy)
    wanted = float(os.environ.get('CARRIED', '0.5'))
    if share < wanted:
        status = 1
        print(f'only {share:.3f} of the operations were carried, {wanted} expected')
sys.exit(status)
