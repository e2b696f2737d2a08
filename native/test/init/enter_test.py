"""diciclo-enter: surroundings, exit statuses, signals, terminals, mounts shown on the host."""
import json
import os
import pty
import select
import signal
import subprocess
import time

from pool_case import ENTER, LIBRARY, PoolCase, is_alive, main, text, wait_for


# Who is started in the background has these ignored, and so would all that is started here.
for ignored in (signal.SIGINT, signal.SIGQUIT):
    signal.signal(ignored, signal.default_int_handler if ignored == signal.SIGINT else signal.SIG_DFL)


class Enter(PoolCase):
    def test_statuses(self):
        pool = self.pool().start()
        for command, status, message in [
            (['true'], 0, ''),
            (['sh', '-c', 'exit 42'], 42, ''),
            (['sh', '-c', 'kill -USR1 $$'], 128 + signal.SIGUSR1, ''),
            (['sh', '-c', 'kill -KILL $$'], 128 + signal.SIGKILL, ''),
            (['no-such-command'], 127, 'diciclo: no-such-command: command not found\n'),
            (['/no/such/file'], 127, 'diciclo: /no/such/file: No such file or directory\n'),
            (['/etc/passwd'], 126, 'diciclo: /etc/passwd: Permission denied\n'),
            (['/tmp'], 126, 'diciclo: /tmp: Permission denied\n'),
        ]:
            with self.subTest(command=command):
                outcome = pool.enter(*command)
                self.assertEqual((outcome.returncode, outcome.stderr), (status, message))

    def test_own_failures(self):
        pool = self.pool()
        outcome = pool.enter('true')
        self.assertEqual((outcome.returncode, 'not running' in outcome.stderr), (125, True), outcome.stderr)
        pool.start()
        for options in [['--door', 'window'], ['--door', 'library'], ['--library', LIBRARY, '--syscalls', 'some'], ['--door', 'kernel', '--syscalls', 'dispatch'], ['--cgroup', '/nonexistent/cgroup.procs'], ['--cwd', 'relative'], ['--surprise']]:
            self.assertEqual(pool.enter('true', options=options).returncode, 125, options)
        outcome = pool.enter('true', options=['--cwd', '/nonexistent'])
        self.assertEqual(outcome.returncode, 125)
        self.assertIn('/nonexistent', outcome.stderr)
        outcome = subprocess.run([ENTER, '--dir', pool.directory], capture_output=True, text=True)
        self.assertEqual(outcome.returncode, 125)
        pool.set('init.json', '{"pid": %d, "startTime": 12}' % os.getpid())  # a number that is somebody else's by now
        outcome = pool.enter('true')
        self.assertEqual((outcome.returncode, 'gone' in outcome.stderr), (125, True), outcome.stderr)

    def test_surroundings(self):
        pool = self.pool().start()
        at = self.directory('here')
        env = {'PATH': os.environ['PATH'], 'A': 'b c', 'LD_PRELOAD': ''}
        outcome = pool.enter('sh', '-c', 'pwd; echo "$A|$LD_PRELOAD|$DICICLO_POOL_DIR"; cat; echo problem >&2; readlink /proc/self/ns/mnt; readlink /proc/self/ns/ipc', cwd=at, env=env, input='words')
        namespaces = [os.readlink(f'/proc/{pool.pid}/ns/{kind}') for kind in ('mnt', 'ipc')]
        self.assertEqual(outcome.stdout, f'{at}\nb c||\nwords' + '\n'.join(namespaces) + '\n')
        self.assertEqual(outcome.stderr, 'problem\n')
        outcome = pool.enter('sh', '-c', 'pwd; echo $PWD', options=['--cwd', at])
        self.assertEqual(outcome.stdout, f'{at}\n{at}\n')

    def test_the_library_door(self):
        pool = self.pool().start()
        env = {'PATH': os.environ['PATH'], 'LD_PRELOAD': '/other.so'}
        outcome = pool.enter('/bin/sh', '-c', 'echo $LD_PRELOAD $DICICLO_POOL_DIR', options=['--library', LIBRARY], env=env)
        self.assertEqual(outcome.stdout, f'{LIBRARY}:/other.so {pool.directory}\n')
        outcome = pool.enter('/bin/sh', '-c', 'echo $DICICLO_POOL_DIR', options=['--library', LIBRARY, '--door', 'kernel'], env={**env, 'LD_PRELOAD': '', 'DICICLO_POOL_DIR': '/x'})
        self.assertEqual(outcome.stdout, '\n')

    def test_system_calls(self):
        pool = self.pool().start()
        features = json.loads(subprocess.run([ENTER, '--features'], capture_output=True, text=True, check=True).stdout)
        outcome = pool.enter('/bin/sh', '-c', 'echo $DICICLO_SYSCALLS', options=['--library', LIBRARY, '--syscalls', 'dispatch'])
        if features['dispatch']:
            self.assertEqual(outcome.stdout, 'dispatch\n')
        else:
            self.assertEqual((outcome.returncode, 'cannot dispatch' in outcome.stderr), (125, True), outcome.stderr)
        outcome = pool.enter('/bin/sh', '-c', 'echo $DICICLO_SYSCALLS', options=['--library', LIBRARY], env={'PATH': os.environ['PATH'], 'DICICLO_SYSCALLS': 'dispatch'})
        self.assertEqual(outcome.stdout, '\n')

    def test_signals(self):
        pool = self.pool().start()
        for name in ('TERM', 'INT', 'HUP', 'QUIT', 'USR1', 'USR2', 'WINCH'):
            script = f'trap "echo got; exit 9" {name}; echo in; while :; do sleep 0.05; done'
            child = pool.spawn('bash', '-c', script)
            self.assertEqual(child.stdout.readline(), 'in\n')
            child.send_signal(getattr(signal, f'SIG{name}'))
            self.assertEqual((child.stdout.readline(), child.wait(timeout=20)), ('got\n', 9), name)
        child = pool.spawn('sleep', '1000')
        wait_for('sleep', lambda: len(pool.members()) == 3)
        child.send_signal(signal.SIGTERM)
        self.assertEqual(child.wait(timeout=20), 128 + signal.SIGTERM)

    def test_an_ignored_signal_stays_ignored(self):
        pool = self.pool().start()
        child = pool.spawn('sh', '-c', 'echo in; sleep 0.5; echo out', preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
        child.stdout.readline()
        child.send_signal(signal.SIGHUP)
        self.assertEqual((child.stdout.readline(), child.wait(timeout=20)), ('out\n', 0))

    def test_killed_with_its_command(self):
        pool = self.pool().start()
        child = pool.spawn('sleep', '1000')
        wait_for('sleep', lambda: len(pool.members()) == 3)
        child.kill()
        wait_for('its end', lambda: len(pool.members()) == 2)

    def test_stop_and_go_on(self):
        pool = self.pool().start()
        # A process group of its own, as a shell would give it: in an orphaned one nobody is stopped by TSTP.
        child = pool.spawn('sh', '-c', 'echo in; sleep 0.3; echo out', preexec_fn=os.setpgrp)
        child.stdout.readline()
        child.send_signal(signal.SIGTSTP)
        pid, status = os.waitpid(child.pid, os.WUNTRACED)
        self.assertTrue(os.WIFSTOPPED(status))
        child.send_signal(signal.SIGCONT)
        self.assertEqual((child.stdout.readline(), child.wait(timeout=20)), ('out\n', 0))

    def test_a_terminal(self):
        pool = self.pool().start()
        pid, terminal = pty.fork()
        if pid == 0:
            os.execv(ENTER, [ENTER, '--dir', pool.directory, '--', 'sh', '-c', 'trap "echo interrupted; exit 5" INT; test -t 0 && tty && echo ready; while :; do sleep 0.05; done'])
        output = read_until(terminal, b'ready')
        self.assertIn(b'/dev/pts/', output)
        os.write(terminal, b'\x03')
        output = read_until(terminal, b'interrupted')
        self.assertEqual(output.count(b'interrupted'), 1)  # not once by the terminal and once passed on
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 5)
        os.close(terminal)

    def test_a_shell_with_job_control(self):
        """A shell outside, a command inside: ^Z brings the outer shell back, fg the command; afterwards the terminal is the outer shell's again."""
        pool = self.pool().start()
        pid, terminal = pty.fork()
        if pid == 0:
            os.environ['PS1'] = ''
            os.execvp('bash', ['bash', '--norc', '--noprofile', '-i'])
        try:
            enter = f'{ENTER} --dir {pool.directory} --'
            os.write(terminal, f"stty -echo; {enter} sh -c 'echo in$((1+1)); exec sleep 1000'\n".encode())
            read_until(terminal, b'in2')
            time.sleep(0.2)
            os.write(terminal, b'\x1a')
            read_until(terminal, b'Stopped')
            os.write(terminal, b'echo back$((1+1)); fg\n')
            read_until(terminal, b'back2')
            time.sleep(0.3)
            os.write(terminal, b'\x03')
            time.sleep(0.3)
            os.write(terminal, b'echo status$?\n')
            read_until(terminal, b'status130')
            # An interactive shell inside takes the terminal; it must come back.
            os.write(terminal, f'{enter} bash --norc --noprofile -i\n'.encode())
            os.write(terminal, b'echo inner$((1+1))\n')
            read_until(terminal, b'inner2')
            os.write(terminal, b'exit 6\n')
            time.sleep(0.3)
            os.write(terminal, b'echo outer$?\n')
            read_until(terminal, b'outer6')
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            os.close(terminal)


def read_until(terminal, wanted, seconds=30):
    output, end = b'', time.monotonic() + seconds
    while wanted not in output:
        ready, _, _ = select.select([terminal], [], [], max(0, end - time.monotonic()))
        if not ready:
            raise AssertionError(f'{wanted} did not come: {output}')
        output += os.read(terminal, 4096)
    return output


class HostMount(PoolCase):
    def host(self, pool, option, at):
        return subprocess.run([ENTER, '--dir', pool.directory, option, at], capture_output=True, text=True, timeout=30)

    def test_shown_and_hidden(self):
        pool = self.pool().start()
        at = self.directory('m')
        outcome = self.host(pool, '--host-mount', at)
        self.assertEqual((outcome.returncode, 'nothing is mounted' in outcome.stderr), (125, True))
        device = pool.mount(at)['device']
        self.assertEqual(self.host(pool, '--host-mount', at).returncode, 0)
        self.addCleanup(lambda: subprocess.run(['umount', '-l', at], capture_output=True))
        self.assertIn(f'diciclo {at} fuse.diciclo', text('/proc/mounts'))
        st = os.stat(at)
        self.assertEqual(f'{os.major(st.st_dev)}:{os.minor(st.st_dev)}', device)
        self.assertEqual(os.statvfs(at).f_blocks, 1)
        pool.wait_restarted(pool.kill_service()['epoch'])
        self.assertEqual(os.statvfs(at).f_blocks, 2)
        with open(os.path.join(self.base, 'hold'), 'w'):
            pass
        directory = os.open(at, os.O_RDONLY)
        outcome = self.host(pool, '--host-unmount', at)
        self.assertEqual((outcome.returncode, 'in use' in outcome.stderr), (125, True), outcome.stderr)
        os.close(directory)
        self.assertEqual(self.host(pool, '--host-unmount', at).returncode, 0)
        self.assertNotIn(at, text('/proc/mounts'))
        self.assertEqual(self.host(pool, '--host-unmount', at).returncode, 125)
        pool.must('unmount', mountpoint=at)

    def test_on_a_host_that_shares_its_mounts(self):
        """As systemd leaves it: what is mounted on the host shows up in the pool, under the pool's own mount of the same instance."""
        script = f'''
            set -e
            mount -t tmpfs tmpfs {self.base}/shared
            mount --make-shared {self.base}/shared
            mkdir {self.base}/shared/m
            exec python3 {os.path.abspath(__file__)} shared {self.base}
        '''
        self.directory('shared')
        outcome = subprocess.run(['unshare', '--mount', '--propagation', 'private', 'bash', '-c', script], capture_output=True, text=True, timeout=60)
        self.assertEqual(outcome.returncode, 0, outcome.stdout + outcome.stderr)

    def test_host_mount_outlives_the_pool_and_can_be_removed(self):
        pool = self.pool().start()
        at = self.directory('m')
        pool.mount(at)
        self.assertEqual(self.host(pool, '--host-mount', at).returncode, 0)
        self.addCleanup(lambda: subprocess.run(['umount', '-l', at], capture_output=True))
        os.kill(pool.pid, signal.SIGKILL)
        wait_for('the end', lambda: not is_alive(pool.pid))
        # The kernel may close the last /dev/fuse descriptor of a process that has ended a moment later.
        wait_for('the mount to fail', lambda: not answers(at))
        self.assertEqual(self.host(pool, '--host-unmount', at).returncode, 0)


def answers(path):
    try:
        os.statvfs(path)
        return True
    except OSError:
        return False


def on_shared_host(base):
    from pool_case import Pool
    pool = Pool(base, 'sh').start()
    try:
        at = os.path.join(base, 'shared/m')
        assert pool.mount(at)['ok']
        for option in ('--host-mount', '--host-unmount', '--host-mount'):
            subprocess.run([ENTER, '--dir', pool.directory, option, at], check=True, timeout=30)
            assert (at in text('/proc/mounts')) == (option == '--host-mount')
            assert pool.enter('stat', '-f', at).returncode == 0
        pool.wait_restarted(pool.kill_service()['epoch'])
        assert os.statvfs(at).f_blocks == 2
        subprocess.run([ENTER, '--dir', pool.directory, '--host-unmount', at], check=True, timeout=30)
        pool.must('unmount', mountpoint=at)
        assert at not in pool.enter('cat', '/proc/mounts').stdout
    finally:
        pool.end()


if __name__ == '__main__':
    import sys
    if len(sys.argv) == 3 and sys.argv[1] == 'shared':
        on_shared_host(sys.argv[2])
    else:
        main()
