"""A pool of its own for each test: started, asked, and gone afterwards whatever happened; only processes that the test started are ended."""
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

if os.geteuid() != 0 or not os.access('/dev/fuse', os.R_OK | os.W_OK):
    print('skipped: root and /dev/fuse are needed')
    sys.exit(77)

os.environ.setdefault('DICICLO_PATIENCE', '0')
INIT = os.environ['DICICLO_POOL_INIT']
ENTER = os.environ['DICICLO_ENTER']
FAKE = os.environ['DICICLO_FAKE_SERVICE']
ATTACHER = os.environ['DICICLO_ATTACHER']
SERVICE = os.environ.get('DICICLO_SERVICE', '')
MODULES = os.environ.get('DICICLO_MODULES', '/nonexistent')
LIBRARY = os.environ.get('DICICLO_LIBRARY', '/nonexistent/libdiciclo.so')


def text(path):
    with open(path) as file:
        return file.read()


def start_time(pid):
    try:
        with open(f'/proc/{pid}/stat') as file:
            return int(file.read().rsplit(')', 1)[1].split()[19])
    except (FileNotFoundError, ProcessLookupError):
        return None


def is_alive(pid):
    try:
        with open(f'/proc/{pid}/stat') as file:
            return file.read().rsplit(')', 1)[1].split()[0] not in 'ZX'
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_for(what, predicate, seconds=30.0):
    """Until the predicate gives something true; the answer. The time is against hangs alone: the machine may be busy."""
    end = time.monotonic() + seconds
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f'{what}: not within {seconds} s')
        time.sleep(0.005)


class Control:
    """One connection to control.sock."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(30)
        self.socket.connect(path)
        self.file = self.socket.makefile('rb')

    def send(self, data):
        self.socket.sendall(data)

    def receive(self):
        line = self.file.readline()
        return json.loads(line) if line else None

    def ask(self, op, **fields):
        self.send(json.dumps({'op': op, **fields}).encode() + b'\n')
        return self.receive()

    def close(self):
        self.file.close()
        self.socket.close()


class Pool:
    def __init__(self, base, name, service=FAKE, modules=MODULES, env=None):
        self.directory = os.path.join(base, name)
        self.name = f'test/{name}'
        self.service = service
        self.modules = modules
        self.env = {**os.environ, **(env or {})}
        self.children = []
        os.makedirs(self.directory, exist_ok=True)

    def path(self, *parts):
        return os.path.join(self.directory, *parts)

    def set(self, name, text=''):
        with open(self.path(name), 'w') as file:
            file.write(text)

    def unset(self, name):
        os.unlink(self.path(name))

    def start_arguments(self, *extra):
        # The fake service has no service.sock, and is not to be taken for dead on a busy machine.
        watchdog = [] if self.service != FAKE or '--watchdog' in extra else ['--watchdog', '0']
        return [INIT, *watchdog, '--dir', self.directory, '--name', self.name, '--service', self.service, '--modules', self.modules, '--library', LIBRARY, '--workers', '2', *extra]

    def try_start(self, *extra):
        return subprocess.run(self.start_arguments(*extra), env=self.env, capture_output=True, text=True, timeout=60)

    def start(self, *extra):
        outcome = self.try_start(*extra)
        if outcome.returncode != 0:
            raise AssertionError(f'pool-init: {outcome.stderr}')
        self.pid = self.record()['pid']
        self.start_time = self.record()['startTime']
        return self

    def record(self):
        with open(self.path('init.json')) as file:
            return json.load(file)

    def control(self):
        return Control(self.path('control.sock'))

    def ask(self, op, **fields):
        control = self.control()
        try:
            return control.ask(op, **fields)
        finally:
            control.close()

    def must(self, op, **fields):
        answer = self.ask(op, **fields)
        if not answer or answer.get('ok') is not True:
            raise AssertionError(f'{op}: {answer}')
        return answer

    def status(self):
        return self.must('status')

    def mount(self, mountpoint, name='data', plan=None, cache='auto', make=False):
        return self.ask('mount', instance=name, mountpoint=mountpoint, plan=plan or {'version': 1, 'instance': name}, door={'cache': cache}, makeDirectory=make)

    def kill_service(self):
        before = self.status()['service']
        os.kill(before['pid'], signal.SIGKILL)
        return before

    def wait_restarted(self, epoch, seconds=30.0):
        return wait_for('a new service', lambda: (s := self.status()['service'])['state'] == 'running' and s['epoch'] > epoch and s, seconds)

    def messages(self, kind=None):
        try:
            with open(self.path('trace')) as file:
                lines = [json.loads(line) for line in file if line.endswith('\n')]
        except FileNotFoundError:
            lines = []
        return [line for line in lines if kind is None or line['type'] == kind]

    def told(self, kind, count):
        """What the service was told, once there are count of that kind. An attach is answered before it (docs/internals.md), so whoever is attached may be news to it."""
        wait_for(f'{kind} {count}', lambda: len(self.messages(kind)) >= count)
        return self.messages(kind)

    def log(self, name='init'):
        with open(self.path('log', f'{name}.log')) as file:
            return file.read()

    def enter(self, *command, options=(), **keywords):
        keywords = {'capture_output': True, 'text': True, 'timeout': 60, **keywords}
        return subprocess.run([ENTER, '--dir', self.directory, *options, '--', *command], **keywords)

    def spawn(self, *command, options=(), **keywords):
        keywords = {'stdin': subprocess.PIPE, 'stdout': subprocess.PIPE, 'text': True, **keywords}
        child = subprocess.Popen([ENTER, '--dir', self.directory, *options, '--', *command], **keywords)
        self.children.append(child)
        return child

    def members(self):
        """Processes of the pool, as the host sees them: those in pool-init's pid namespace."""
        try:
            namespace = os.readlink(f'/proc/{self.pid}/ns/pid')
        except OSError:
            return []
        found = []
        for pid in filter(str.isdigit, os.listdir('/proc')):
            try:
                if os.readlink(f'/proc/{pid}/ns/pid') == namespace and is_alive(pid):
                    found.append(int(pid))
            except OSError:
                pass
        return found

    def is_running(self):
        return hasattr(self, 'pid') and start_time(self.pid) == self.start_time and is_alive(self.pid)

    def end(self):
        if self.is_running():
            os.kill(self.pid, signal.SIGKILL)
            wait_for('the end of pool-init', lambda: not self.is_running())
        for child in self.children:
            child.kill()
            child.wait()
            for stream in (child.stdin, child.stdout, child.stderr):
                if stream:
                    stream.close()


class PoolCase(unittest.TestCase):
    def setUp(self):
        self.base = tempfile.mkdtemp(prefix='dci')
        os.chmod(self.base, 0o711)
        self.pools = []

    def tearDown(self):
        for pool in self.pools:
            try:
                log = pool.log()
            except FileNotFoundError:
                log = ''
            pool.end()
            self.assertNotRegex(log, 'Sanitizer|runtime error', 'pool-init is not clean')
            self.assertFalse([line for line in text('/proc/self/mountinfo').split('\n') if self.base in line], 'mounts were left on the host')
        self.doCleanups()
        shutil.rmtree(self.base)

    def pool(self, name='a', **keywords):
        pool = Pool(self.base, name, **keywords)
        self.pools.append(pool)
        return pool

    def directory(self, name):
        path = os.path.join(self.base, name)
        os.makedirs(path, exist_ok=True)
        return path

    def attach(self, pool, target=None, mode='once'):
        """A process of the pool that attaches and stays; it and its answer."""
        child = pool.spawn(ATTACHER, (target or pool).path('attach.sock'), mode)
        return child, json.loads(child.stdout.readline())

    def refused(self, answer, code):
        self.assertIsNotNone(answer)
        self.assertIs(answer['ok'], False, answer)
        self.assertEqual(answer['error']['code'], code, answer)
        self.assertGreater(len(answer['error']['message']), 10)
        return answer['error']['message']


def main():
    """usage: ..._test.py [PART/PARTS | TEST ...]    Each test is in one of PARTS: they mostly wait, and the parts do so side by side."""
    if len(sys.argv) != 2 or '/' not in sys.argv[1]:
        unittest.main(verbosity=2)
    part, parts = map(int, sys.argv[1].split('/'))
    tests = [test for suite in unittest.defaultTestLoader.loadTestsFromModule(sys.modules['__main__']) for test in suite][part - 1::parts]
    sys.exit(not tests or not unittest.TextTestRunner(verbosity=2).run(unittest.TestSuite(tests)).wasSuccessful())
