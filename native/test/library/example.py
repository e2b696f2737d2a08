#!/usr/bin/env python3
"""The linked example, without any preload: it joins the pool by name, and its calls are carried; outside of a pool it works all the same.

usage: example.py BUILD PROGRAM     skipped (77) where a pool cannot be made
"""
import subprocess, sys

sys.dont_write_bytecode = True  # beside the sources
from pool import Pool

EXPECTED = '''libdiciclo 0.1.0, interface 1
before: none
the mount: library, /etc: none
the log's descriptor: library
1000 records, then a child
after: kernel
'''


def run(argv):
    return subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, timeout=60, text=True).stdout


build, program = sys.argv[1:]
with Pool(build) as pool:
    seen = run(pool.inside([program, pool.directory, pool.mount], door='kernel'))
    library, kernel, uncarried = pool.stats()
    outside = run([program, pool.work + '/no-pool', pool.host])
problems = []
if seen != EXPECTED:
    problems.append(f'in the pool it said:\n{seen}')
if library.get('write', 0) < 1000 or kernel.get('write', 0):
    problems.append(f'carried {library}, kernel door {kernel}')
if 'not carried (No such file or directory)' not in outside:
    problems.append(f'outside it said:\n{outside}')
print('\n'.join(problems) or f'carried {sum(library.values())}, kernel door {sum(kernel.values())}, {uncarried}')
sys.exit(1 if problems else 0)
