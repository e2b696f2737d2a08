#!/usr/bin/env python3
"""An instance mounted inside another: a program sees the same through the library as through the kernel door. usage: nested.py BUILD"""
import os, subprocess, sys

sys.dont_write_bytecode = True  # beside the sources
from pool import Pool

SCRIPT = r'''
import errno, os, sys
top = sys.argv[1]
def say(name, call):
    try:
        result = call()
    except OSError as error:
        result = errno.errorcode.get(error.errno, error.errno)
    print(name, result)
def text(path):
    with open(path) as file:
        return file.read()
def put(path, what):
    with open(path, 'w') as file:
        file.write(what)
for path in ('a/sub/mark', 'link/mark', 'a/deep', 'a/other/up/mark', 'link/../plain', 'link/../../top', 'a/sub/../plain', 'a/other/up/../plain', 'a/sub/to/mark', 'link/to/mark'):
    say(path, lambda: text(f'{top}/{path}'))
for where in ('', 'a', 'a/other', 'a/sub', 'link', 'a/other/up'):
    os.chdir(f'{top}/{where}')
    for path in ('sub/mark', 'mark', '../sub/mark', './sub/../plain', '../top', 'a/sub/mark', 'up/mark', '..//a/sub/to/mark', '../../top'):
        say(f'{where}: {path}', lambda: text(path))
        say(f'{where}: device of {path}', lambda: os.stat(path).st_dev == os.stat(top).st_dev)
os.chdir(f'{top}/a')
descriptor = os.open('.', os.O_RDONLY)
say('openat', lambda: os.read(os.open('sub/mark', os.O_RDONLY, dir_fd=descriptor), 99))
say('mkdir', lambda: (os.mkdir('sub/made'), os.path.isdir(f'{top}/a/sub/made'), os.rmdir('other/up/made')))
say('write', lambda: (put('sub/new', 'new'), text(f'{top}/link/new'), os.unlink(f'{top}/a/other/up/new'), os.listdir('sub')))
say('rename out', lambda: os.rename('sub/mark', 'mark'))
say('rename of the mount point', lambda: os.rename('sub', 'moved'))
say('rmdir of the mount point', lambda: os.rmdir('sub'))
say('rename over the mount point', lambda: os.rename('other', 'sub'))
say('realpath', lambda: os.path.realpath('other/up/to/mark').replace(top, 'TOP'))
say('readlink', lambda: os.readlink(f'{top}/link'))
'''


def prepare(pool):
    for path in ('a', 'a/other', 'a/sub'):
        os.mkdir(f'{pool.back}/{path}')
    os.symlink('a/sub', f'{pool.back}/link')
    os.symlink('./sub/mark', f'{pool.back}/a/deep')
    os.symlink('../sub', f'{pool.back}/a/other/up')
    inner = f'{pool.work}/inner'
    os.mkdir(inner)
    os.mkdir(f'{inner}/dir')
    os.symlink('dir', f'{inner}/to')
    for path, content in ((f'{pool.back}/top', 'top'), (f'{pool.back}/a/plain', 'plain'), (f'{pool.back}/a/sub/mark', 'WRONG: beneath'), (f'{inner}/mark', 'inner'), (f'{inner}/dir/mark', 'deep')):
        with open(path, 'w') as file:
            file.write(content)
    plan = {'version': 1, 'instance': 'inner', 'root': 'inner.0', 'nodes': [{'id': 'inner.0', 'type': 'local', 'kind': 'file', 'options': {'path': inner, 'readOnly': False}, 'children': {}}]}
    pool.control('control.sock', {'op': 'mount', 'instance': 'inner', 'mountpoint': f'{pool.mount}/a/sub', 'plan': plan, 'door': {'cache': 'auto'}, 'makeDirectory': False})


with Pool(sys.argv[1]) as pool:
    prepare(pool)
    seen = {}
    for door in ('kernel', 'library'):
        result = subprocess.run(pool.inside(['python3', '-c', SCRIPT, pool.mount], door), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, timeout=60)
        seen[door] = result.stdout.decode(errors='replace').splitlines() + [f'status {result.returncode}']
    library, kernel, uncarried = pool.stats()
    print('library', sum(library.values()), 'not carried', uncarried)
    pool.control('control.sock', {'op': 'unmount', 'mountpoint': f'{pool.mount}/a/sub', 'force': True})
wrong = [f'kernel  {a}\nlibrary {b}' for a, b in zip(seen['kernel'], seen['library']) if a != b]
print('\n'.join(wrong))
sys.exit(1 if wrong or len(seen['kernel']) != len(seen['library']) or len(seen['kernel']) < 100 or 'WRONG' in ''.join(seen['kernel']) or not library else 0)
