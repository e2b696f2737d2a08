#!/usr/bin/env python3
"""Takes away what a killed test leaves: waits until its standard input ends (the test has died, or is done), then stops every pool below the work directory, removes its control groups and it.

usage: reaper.py WORK     the control groups are those called as WORK is (test/e2e/harness.ts)
"""
import glob, json, os, shutil, signal, socket, sys, time


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


def main():
    work = os.path.realpath(sys.argv[1])
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while os.read(0, 4096):
        pass
    if not os.path.isdir(work):
        return
    for path in glob.glob(f'{work}/**/control.sock', recursive=True):
        stop(path)
    remove_groups(os.path.basename(work))
    shutil.rmtree(work, ignore_errors=True)


main()
