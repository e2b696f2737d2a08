#!/usr/bin/env python3
"""Forks while the cache is being mapped. usage: midway.py BUILD PROGRAM"""
import os, subprocess, sys

sys.dont_write_bytecode = True  # beside the sources
from pool import Pool

build, program = sys.argv[1:]
with Pool(build) as pool:
    with open(f'{pool.back}/file', 'w') as file:
        file.write('a' * 65536)
    # The pool's directory as the library is to see it, but for the socket that the program answers itself.
    between = f'{pool.work}/between'
    os.mkdir(between)
    for name in os.listdir(pool.directory):
        if name != 'regions.sock':
            os.symlink(f'{pool.directory}/{name}', f'{between}/{name}')
    settings = [f'LD_PRELOAD={pool.library}', f'DICICLO_POOL_DIR={between}']
    command = pool.inside(['env', *settings, program, f'{pool.mount}/file', between, f'{pool.directory}/regions.sock'], 'kernel')
    result = subprocess.run(command, stdin=subprocess.DEVNULL, timeout=200)
sys.exit(result.returncode != 0)
