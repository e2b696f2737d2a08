#!/usr/bin/env python3
"""Takes away what a killed test leaves: waits until its standard input ends (the test has died, or is done), then stops every pool below the work directory, removes its control groups and it.
Where it was killed too, the next one does: whose lock nobody holds any more has no reaper.

usage: reaper.py WORK     the control groups are those called as WORK is (test/e2e/harness.ts)
"""
import fcntl, glob, json, os, shutil, signal, socket, sys, time

LOCK = '.reaper'


def stop(path):
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(30)
            connection.connect(path)
            connection.sendall(b'{"op":"stop"}\n')
            json.loads(connection.makefile().readline() or '{}')
    except (OSError, ValueError):
        return
    for _ in range(300):
        if not os.path.exists(path):
            return
        time.sleep(0.1)


def remove_groups(name):
    for top in ['/sys/fs/cgroup'] + glob.glob('/sys/fs/cgroup/*'):
        for directory, _, _ in os.walk(os.path.join(top, name), topdown=False):
            for _ in range(50):  # busy while its last process is on its way out
                try:
                    os.rmdir(directory)
                    break
                except FileNotFoundError:
                    break
                except OSError:
                    time.sleep(0.1)


def clear(work):
    for path in glob.glob(f'{work}/**/control.sock', recursive=True):
        stop(path)
    remove_groups(os.path.basename(work))
    shutil.rmtree(work, ignore_errors=True)


def claim(work):
    """The lock has its name only once it is held, so a new directory never looks like an abandoned one."""
    lock = open(os.path.join(work, f'{LOCK}.new'), 'w')
    fcntl.flock(lock, fcntl.LOCK_EX)
    os.rename(lock.name, os.path.join(work, LOCK))
    return lock


def clear_abandoned(work):
    for path in glob.glob(os.path.join(os.path.dirname(work), 'diciclo-e2e-*', LOCK)):
        try:
            with open(path) as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                clear(os.path.dirname(path))
        except OSError:
            continue


def main():
    work = os.path.realpath(sys.argv[1])
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    lock = claim(work)
    clear_abandoned(work)
    while os.read(0, 4096):
        pass
    if os.path.isdir(work):
        clear(work)
    lock.close()


main()
