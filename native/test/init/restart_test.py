"""The service is killed under applications that go on with what they have open, through both doors at once."""
import os
import re
import signal
import time
import unittest

from plans import plan
from pool_case import LIBRARY, MODULES, SERVICE, PoolCase, main, text, wait_for

ENDURE = os.environ['DICICLO_ENDURE']
KILLS = int(os.environ.get('DICICLO_TEST_KILLS', '10'))
SECONDS = 6

# Holds what only the kernel can hold, across kills: locks, a mapping, a descriptor that a child inherits.
HOLDER = r'''
import fcntl, mmap, os, sys, subprocess
path = sys.argv[1]
lock = open(path + '.lock', 'w'); fcntl.flock(lock, fcntl.LOCK_EX)
record = open(path + '.record', 'w'); fcntl.lockf(record, fcntl.LOCK_EX)
file = open(path + '.map', 'w+b'); file.write(bytes(8192)); file.flush()
view = mmap.mmap(file.fileno(), 8192)
gone = open(path + '.gone', 'w+b', buffering=0); gone.write(b'still here'); os.unlink(path + '.gone')
print('ready', flush=True)
for number, line in enumerate(sys.stdin):
    view[0:8] = b'%08d' % number
    view.flush()
    os.pwrite(gone.fileno(), b'%04d' % number, 10)
    child = subprocess.run(['cat', '/dev/fd/0'], stdin=gone, stdout=subprocess.PIPE)
    print(os.pread(gone.fileno(), 20, 0).decode(), open(path + '.map', 'rb').read(8).decode(), flush=True)
'''
TAKER = r'''
import fcntl, sys
for name, lock in (('.lock', fcntl.flock), ('.record', fcntl.lockf)):
    with open(sys.argv[1] + name, 'r+') as file:
        try:
            lock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            print('taken', name)
        except BlockingIOError:
            print('held')
'''


@unittest.skipUnless(os.path.exists(SERVICE) and os.path.isdir(MODULES) and os.path.exists(LIBRARY), 'the service is not built')
class Restart(PoolCase):
    trust, kind = (), 'cache'

    def setUp(self):
        super().setUp()
        self.at, self.back = self.directory('m'), self.directory('back')
        self.service = self.pool(service=SERVICE, env={'DICICLO_TEST_NO_BACKOFF': '1'}).start('--watchdog', '2', *self.trust)

    def mount(self, kind=None):
        answer = self.service.mount(self.at, plan=plan(kind or self.kind, self.back))
        self.assertTrue(answer['ok'], answer)

    def spawn(self, door, *command):
        return self.service.spawn(*command, options=('--door', door, '--library', LIBRARY))

    def kill(self, signal_number=signal.SIGKILL):
        before = self.service.status()['service']
        os.kill(before['pid'], signal_number)
        return before['epoch']

    def kill_often(self, kills, seconds):
        for number in range(kills):
            time.sleep(seconds / kills * (0.5 + number % 3 / 2))
            self.service.wait_restarted(self.kill())

    def keepers(self):
        return [pid for pid in self.service.members() if text(f'/proc/{pid}/comm') == 'keeper\n']

    def test_writers(self):
        self.mount()
        writers = {(door, seed): self.spawn(door, ENDURE, self.at, str(SECONDS), '3', str(seed))
                   for seed, door in enumerate(('library', 'library', 'kernel'))}
        time.sleep(0.3)
        self.kill_often(KILLS, 3)
        doubts = 0
        for (door, _), writer in writers.items():
            output = writer.communicate(timeout=60)[0]
            self.assertEqual(writer.returncode, 0, f'{door}: {output}\n{self.service.log("service")}')
            print(f'\n{door}: operations, in doubt: {output.strip()}', end=' ')
            doubts += int(output.split()[1])
        log = self.service.log('service')
        said = len(re.findall('answered EIO', log))
        self.assertEqual(said, doubts, 'what is in doubt is said in the log, and nothing else is')
        self.assertNotIn('cannot be found again', log)
        self.assertEqual(re.findall(r'open files, [1-9]\d* lost', log), [])
        self.assertEqual(self.service.status()['service']['restarts'], KILLS)

    def test_upgrades(self):
        """Nothing is lost and nothing is in doubt: a writer that tolerates neither goes on through both doors."""
        self.mount()
        pool = self.service
        writers = {(door, seed): self.spawn(door, ENDURE, self.at, str(SECONDS), '3', str(seed)) for seed, door in enumerate(('library', 'library', 'kernel'))}
        slowest = 0
        for number in range(KILLS):
            time.sleep(0.35)
            before = pool.status()['service']
            answer = pool.must('service-upgrade', service=SERVICE, modules=MODULES)
            self.assertTrue(answer['drained'])
            slowest = max(slowest, answer['milliseconds'])
            after = pool.status()['service']
            self.assertEqual((after['state'], after['epoch'], after['restarts']), ('running', before['epoch'] + 1, 0))
            self.assertEqual((answer['pid'], answer['epoch']), (after['pid'], after['epoch']))
        for (door, _), writer in writers.items():
            output = writer.communicate(timeout=60)[0]
            self.assertEqual(writer.returncode, 0, f'{door}: {output}\n{pool.log("service")}')
            self.assertEqual(int(output.split()[1]), 0, f'{door}: in doubt\n{pool.log("service")}')
        print(f'\nslowest exchange: {slowest} ms', end=' ')

    def test_last_words(self):
        """A service that is told more than it reads before it ends has still said that it had finished."""
        self.mount()
        pool = self.service
        before = pool.status()['service']
        control = pool.control()
        os.kill(before['pid'], signal.SIGSTOP)
        control.send(b'{"op": "service-upgrade"}\n')
        wait_for('the exchange', lambda: 'is replaced by' in pool.log())
        newcomer = self.spawn('library', 'sh', '-c', f'echo x > {self.at}/x && cat {self.at}/x')
        wait_for('its being told of somebody more', lambda: pool.status()['clients'])
        os.kill(pool.pid, signal.SIGSTOP) # which hears of it all at once
        os.kill(before['pid'], signal.SIGCONT)
        try:
            wait_for('the end of the service', lambda: ') Z ' in text(f'/proc/{before["pid"]}/stat'))
        finally:
            os.kill(pool.pid, signal.SIGCONT)
        answer = control.receive()
        control.close()
        self.assertEqual(newcomer.communicate(timeout=30)[0], 'x\n')
        self.assertIs(answer.get('drained'), True, f'{answer}\n{pool.log()}')

    def test_bad_upgrades(self):
        self.mount()
        pool = self.service
        good = pool.status()['service']
        self.assertEqual(pool.ask('service-upgrade', service='relative')['error']['code'], 'EINVAL')
        self.assertEqual(pool.ask('service-upgrade', service='/bin/false')['error']['code'], 'ENOEXEC')
        self.assertEqual(pool.status()['service'], good, 'nothing was touched')
        # It was built for other processes than this pool has.
        other = os.path.join(self.base, 'other')
        with open(other, 'w') as file:
            file.write(f'#!/bin/sh\nexec {SERVICE} "$@" --layout 1\n')
        os.chmod(other, 0o755)
        self.assertIn('lays out shared memory otherwise', pool.ask('service-upgrade', service=other)['error']['message'])
        self.assertEqual(pool.status()['service'], good, 'nothing was touched')
        # It describes itself, and then it does not start: the one before comes back.
        bad = os.path.join(self.base, 'bad')
        with open(bad, 'w') as file:
            file.write(f'#!/bin/sh\ncase "$*" in *--describe*) exec {SERVICE} "$@" ;; esac\nexit 7\n')
        os.chmod(bad, 0o755)
        self.assertIn('status 7', pool.ask('service-upgrade', service=bad)['error']['message'])
        pool.wait_restarted(good['epoch'])
        self.assertEqual(pool.enter('sh', '-c', f'echo x > {self.at}/x && cat {self.at}/x').stdout, 'x\n')

    def test_a_service_of_another_layout(self):
        """Its program was replaced while the pool ran, and then it died: the new one is not let near the processes' memory."""
        program, replaced = os.path.join(self.base, 'program'), os.path.join(self.base, 'program.replaced')
        with open(program, 'w') as file:
            file.write(f'#!/bin/sh\n[ -e {replaced} ] && exec {SERVICE} "$@" --layout 1\nexec {SERVICE} "$@"\n')
        os.chmod(program, 0o755)
        pool = self.service = self.pool('replaced', service=program).start(*self.trust)
        self.mount()
        before = pool.status()['service']
        open(replaced, 'w').close()
        pool.kill_service()
        wait_for('its refusal', lambda: 'ended with status 3' in pool.log())
        self.assertRegex(pool.log('service'), 'shared memory has layout [0-9]+ here and 1 at pool-init')
        os.unlink(replaced)
        pool.wait_restarted(before['epoch'] + 1)
        self.assertEqual(self.spawn('library', 'sh', '-c', f'echo x > {self.at}/x && cat {self.at}/x').communicate(timeout=30)[0], 'x\n')

    def test_a_stopped_service(self):
        self.mount()
        pool = self.service
        before = pool.status()['service']
        os.kill(before['pid'], signal.SIGSTOP)
        started = time.monotonic()
        self.assertEqual(self.spawn('library', 'sh', '-c', f'echo x > {self.at}/x && cat {self.at}/x').communicate(timeout=30)[0], 'x\n')
        self.assertEqual(pool.status()['service']['epoch'], before['epoch'] + 1)
        self.assertIn('has not answered for 2.0 s', pool.log())
        print(f'\nback after {time.monotonic() - started:.1f} s', end=' ')
        time.sleep(3)
        self.assertEqual(pool.status()['service']['restarts'], 1, 'one that answers is left alone')

    def test_threads_that_wait_for_the_successor(self):
        """A thread of the killed service waits in the kernel for a directory that is locked by who waits for an answer of the service."""
        modules = self.directory('modules')
        for module in [*(os.path.join(MODULES, name) for name in os.listdir(MODULES) if name.endswith('.so')), os.environ['DICICLO_TESTSLOW']]:
            os.symlink(module, os.path.join(modules, os.path.basename(module)))
        pool = self.service = self.pool('slow', service=SERVICE, modules=modules, env={'DICICLO_TEST_NO_BACKOFF': '1'}).start(*self.trust)
        self.mount('testslow')
        self.assertEqual(pool.enter('sh', '-c', f'mkdir {self.at}/d && ls {self.at}/d').stdout, '')
        before = pool.status()['service']
        go = os.path.join(self.base, 'go')
        script = f"""import os, time
print("in", flush=True)
while not os.path.exists("{go}"): time.sleep(0.01)
os.close(os.open("{self.at}/d/file", os.O_CREAT | os.O_EXCL, 0o644))"""
        teller = self.spawn('library', 'python3', '-c', script)
        self.assertEqual(teller.stdout.readline(), 'in\n')
        holder = self.spawn('kernel', 'mkdir', f'{self.at}/d/slow')
        wait_for('a directory that is being made', lambda: os.path.exists(f'{self.back}/d/begun'))
        open(go, 'w').close()
        threads = f'/proc/{before["pid"]}/task'
        wait_for('a thread that waits for the lock', lambda: any(') D ' in text(f'{threads}/{thread}/stat') for thread in os.listdir(threads)))
        os.kill(before['pid'], signal.SIGKILL)
        for process in holder, teller:
            output = process.communicate(timeout=60)
            self.assertEqual(process.returncode, 0, output)
        self.assertIn('wait in the kernel for its successor', pool.log())
        self.assertEqual(sorted(os.listdir(f'{self.back}/d')), ['begun', 'file', 'slow'])
        wait_for('the end of its threads', lambda: not os.path.exists(threads))

    def test_what_the_kernel_holds(self):
        self.mount()
        for door in 'library', 'kernel':
            path = f'{self.at}/{door}'
            holder = self.spawn(door, 'python3', '-c', HOLDER, path)
            self.assertEqual(holder.stdout.readline(), 'ready\n')
            for number in range(3):
                self.service.wait_restarted(self.kill())
                taker = self.spawn(door, 'python3', '-c', TAKER, path)
                self.assertEqual(taker.communicate(timeout=30)[0], 'held\nheld\n', door)
                holder.stdin.write('\n')
                holder.stdin.flush()
                self.assertEqual(holder.stdout.readline(), f'still here{number:04d} {number:08d}\n', door)
            holder.communicate(timeout=30)
            self.assertEqual(holder.returncode, 0)

    def test_nothing_is_kept_too_long(self):
        """What is closed while no service runs, or with its process, is closed; keepers go when they are not needed."""
        self.mount('local')
        pool = self.service
        pool.enter('sh', '-c', f'echo x > {self.at}/x')
        before = len(pool.members())
        for _ in range(4):
            holder = self.spawn('library', 'python3', '-c', f'import os, sys\nfd = os.open("{self.at}/x", os.O_RDONLY)\nprint("ready", flush=True)\nsys.stdin.read()')
            self.assertEqual(holder.stdout.readline(), 'ready\n')
            epoch = self.kill()
            holder.kill()
            holder.communicate()
            pool.wait_restarted(epoch)
        wait_for('as many processes as before', lambda: len(pool.members()) == before)
        keepers = self.keepers()
        self.assertEqual(len(keepers), 1)
        directory = f'/proc/{pool.status()["service"]["pid"]}/fd'
        self.assertLessEqual([os.path.realpath(f'{directory}/{fd}') for fd in os.listdir(directory)].count(f'{self.back}/x'), 1, 'at most what the kernel knows of it')
        # A keeper that dies is replaced.
        os.kill(keepers[0], signal.SIGKILL)
        wait_for('another keeper', lambda: [pid for pid in self.keepers() if pid != keepers[0]])


class RestartByMailboxes(Restart):
    trust, kind = ('--trust', 'process'), 'write-back'


if __name__ == '__main__':
    main()
