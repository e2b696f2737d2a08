#!/usr/bin/env python3
"""Runs a program on a host directory and, under the library, on a mount of a pool of its own; compares what it printed, and checks the counters.

usage: run.py BUILD KIND PROGRAM...     KIND: program (argument: the directory) or script (a shell script with that argument)
Skipped (77) where a pool cannot be made: it needs root and /dev/fuse.
"""
import difflib, json, os, re, shutil, socket, subprocess, sys, tempfile

build, kind, *command = sys.argv[1:]
if os.geteuid() != 0 or not os.path.exists('/dev/fuse'):
    sys.exit(77)
work = tempfile.mkdtemp(prefix='dc-library-')
pool, mount, back, host = (os.path.join(work, name) for name in ('pool', 'mnt', 'back', 'host'))
for path in (pool, pool + '/log', mount, back, host):
    os.mkdir(path)
for path in (work, pool, mount, back, host):
    os.chmod(path, 0o755)


def control(sock, message):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(os.path.join(pool, sock))
        connection.sendall((json.dumps(message) + '\n').encode())
        answer = json.loads(connection.makefile().readline())
    if not answer.get('ok'):
        raise SystemExit(f'{message["op"]}: {answer}')
    return answer


def start():
    subprocess.run([f'{build}/init/diciclo-pool-init', '--dir', pool, '--name', 'test/library', '--service', f'{build}/service/diciclo-service',
                    '--modules', f'{build}/libservices', '--library', f'{build}/library/libdiciclo.so', '--workers', '2',
                    '--trust', os.environ.get('TRUST', 'pool')], stdin=subprocess.DEVNULL, check=True)
    plan = {'version': 1, 'instance': 'data', 'root': 'data.0', 'nodes': [
        {'id': 'data.1', 'type': 'local', 'kind': 'file', 'options': {'path': back, 'readOnly': False}, 'children': {}},
        {'id': 'data.0', 'type': 'cache', 'kind': 'file', 'options': {'size': 32 << 20, 'mode': 'write-through', 'ttl': 1000}, 'children': {'below': ['data.1']}}]}
    control('control.sock', {'op': 'mount', 'instance': 'data', 'mountpoint': mount, 'plan': plan, 'door': {'cache': 'auto'}, 'makeDirectory': True})


def run(where, inside):
    argv = (['bash'] if kind == 'script' else []) + command + [where]
    if inside:
        argv = [f'{build}/init/diciclo-enter', '--dir', pool, '--door', 'library', '--library', os.environ.get('LIBRARY', f'{build}/library/libdiciclo.so'), '--'] + argv
    result = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, timeout=240)
    text = result.stdout.decode(errors='replace').replace(where, 'DIR')
    return text.splitlines() + [f'status {result.returncode}']


start()
status = 1
try:
    expected, seen = run(host, False), run(mount, True)
    status = 0
    if expected != seen:
        status = 1
        print('\n'.join(difflib.unified_diff(expected, seen, 'host', 'library', lineterm='')))
    stats = control('service.sock', {'op': 'stats'})
    doors = stats['instances'][0]['doors']
    count = {door: sum(o['count'] for o in doors[door]['operations'].values()) for door in doors}
    share = count['library'] / max(1, sum(count.values()))
    print('carried', count, 'not carried', stats['clients']['uncarried'])
    if stats['queue']['transport'] != {'pool': 'queue', 'process': 'mailboxes'}[os.environ.get('TRUST', 'pool')] or not stats['queue']['dequeued']:
        status = 1
        print('the wrong transport:', stats['queue'])
    wanted = float(os.environ.get('CARRIED', '0.5'))
    if share < wanted:
        status = 1
        print(f'only {share:.3f} of the operations were carried, {wanted} expected')
finally:
    control('control.sock', {'op': 'stop'})
    shutil.rmtree(work, ignore_errors=True)
sys.exit(status)
