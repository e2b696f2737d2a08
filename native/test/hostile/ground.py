"""What the tests with hostile and unlucky clients stand on: a pool whose backing store is a small tmpfs of this process's own mount namespace, honest programs that check themselves, and what the service holds."""
import ctypes, json, os, shutil, subprocess, sys, threading, time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../library'))
from pool import Pool  # noqa: E402

CLONE_NEWNS = 0x20000
OFFENDER, HONEST = 12345, 23456


def own_mounts():
    """Mounts of this process go with it, however it ends."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS) != 0:
        print('a mount namespace is needed')
        sys.exit(77)
    subprocess.run(['mount', '--make-rprivate', '/'], check=True)


class Ground(Pool):
    def __init__(self, build, memory=True):
        super().__init__(build)
        # What a liar may fill is bounded, and away with us. `memory` False: a disk, where an fsync takes its time.
        self.memory = memory
        if memory:
            subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=192m,mode=755', 'tmpfs', self.back], check=True)
        for name, owner in (('own', OFFENDER), ('lies', OFFENDER), ('honest', HONEST)):
            os.mkdir(os.path.join(self.back, name))
            os.chown(os.path.join(self.back, name), owner, owner)

    def __exit__(self, *details):
        try:
            super().__exit__(*details)
        finally:
            if self.memory:
                subprocess.run(['umount', '-l', self.back], check=False)
                shutil.rmtree(self.work, ignore_errors=True)

    def spawn(self, argv, uid=0, door='library'):
        if uid:
            argv = ['setpriv', f'--reuid={uid}', f'--regid={uid}', '--clear-groups'] + argv
        return subprocess.Popen(self.inside(argv, door), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)

    def honest(self, program, seed, seconds):
        process = self.spawn([program, os.path.join(self.mount, 'honest'), str(seed), str(seconds), self.inside_pid(self.service()['pid'])], uid=HONEST)
        process.stdout.readline()  # from here on it knows what SIGTERM means
        return process

    def service(self):
        return self.control('control.sock', {'op': 'status'})['service']

    @staticmethod
    def inside_pid(pid):
        """As the pool's own pid namespace numbers it."""
        with open(f'/proc/{pid}/status') as file:
            return next(line for line in file if line.startswith('NSpid:')).split()[-1]

    def log(self, name='service'):
        with open(os.path.join(self.directory, 'log', f'{name}.log')) as file:
            return file.read()

    def pool_init(self):
        with open(os.path.join(self.directory, 'init.json')) as file:
            return json.load(file)['pid']


def resident(pid):
    with open(f'/proc/{pid}/statm') as file:
        return int(file.read().split()[1]) * 4096


def descriptors(pid):
    return len(os.listdir(f'/proc/{pid}/fd'))


def waited_ms(task):
    """How long the kernel let a thread wait for a CPU so far."""
    with open(f'{task}/schedstat') as file:
        return int(file.read().split()[1]) / 1e6


class Answers(threading.Thread):
    """Asks the control socket all the time; the longest answer of each question, in ms. `slowest` says what the longest of all is made of: how long this thread waited for a CPU, which is not the
    service's doing, how long the service's control thread did, and the rest."""

    def __init__(self, ground):
        super().__init__()
        self.ground, self.longest, self.count, self.error, self.over = ground, {}, 0, None, threading.Event()
        self.slowest = {'ms': 0}
        self.own_longest = 0  # without what this thread waited
        tasks = f'/proc/{ground.service()["pid"]}/task'
        self.control = next(f'{tasks}/{task}' for task in os.listdir(tasks) if open(f'{tasks}/{task}/comm').read() == 'control\n')
        self.policy = os.sched_getscheduler(int(os.path.basename(self.control)))
        self.start()

    def ask(self, op):
        asker, control, start = waited_ms('/proc/thread-self'), waited_ms(self.control), time.monotonic()
        self.ground.control('service.sock', {'op': op})
        took = 1000 * (time.monotonic() - start)
        asker, control = waited_ms('/proc/thread-self') - asker, waited_ms(self.control) - control
        self.longest[op] = max(self.longest.get(op, 0), round(took, 1))
        self.own_longest = max(self.own_longest, round(took - asker, 1))
        if took > self.slowest['ms']:
            self.slowest = {'op': op, 'ms': took, 'askerWaited': asker, 'controlWaited': control, 'rest': max(0, took - asker - control)}

    def run(self):
        try:
            while not self.over.is_set():
                for op in ('ping', 'stats', 'queue'):
                    self.ask(op)
                    self.count += 1
                time.sleep(0.01)
        except (OSError, SystemExit, ValueError) as error:
            self.error = error

    def finish(self):
        self.over.set()
        self.join()
        return self.longest


class Verdict:
    def __init__(self):
        self.failed = []

    def check(self, what, holds, *details):
        if not holds:
            self.failed.append(what)
            print(f'FAILED: {what}', *details, flush=True)

    def end(self):
        print(f'{len(self.failed)} failed', flush=True)
        sys.exit(1 if self.failed else 0)


def result(process, seconds=120):
    """The one line of JSON of a program; {} when it did not end in time (it is ended then)."""
    try:
        out, _ = process.communicate(timeout=seconds)
        return json.loads(out.strip().split('\n')[-1]) if out.strip() else {'status': process.returncode}
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return {}
