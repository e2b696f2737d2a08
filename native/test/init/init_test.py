"""pool-init: start, control.sock, mounts, restarts, servers, the end. With a fake service (fake_service.c)."""
import json
import os
import signal
import subprocess
import time

from pool_case import FAKE, INIT, PoolCase, is_alive, main, text, wait_for


class Start(PoolCase):
    def test_ready_means_that_it_answers(self):
        pool = self.pool().start()
        status = pool.status()
        record = pool.record()
        self.assertEqual(record['name'], 'test/a')
        self.assertEqual(status['init']['pid'], record['pid'])
        self.assertEqual(status['service'], {'pid': record['service']['pid'], 'epoch': 1, 'restarts': 0, 'state': 'running'})
        self.assertEqual(os.readlink(f"/proc/{record['service']['pid']}/exe"), FAKE)
        self.assertEqual(sorted(pool.members()), sorted([record['pid'], record['service']['pid']]))
        self.assertEqual([message['type'] for message in pool.messages()], ['start', 'go'])
        self.assertEqual(oct(os.stat(pool.path('attach.sock')).st_mode & 0o777), '0o666')
        self.assertEqual(oct(os.stat(pool.path('control.sock')).st_mode & 0o777), '0o600')
        for kind in ('mnt', 'ipc', 'pid'):
            self.assertNotEqual(os.readlink(f"/proc/{record['pid']}/ns/{kind}"), os.readlink(f'/proc/self/ns/{kind}'))

    def test_stop_leaves_nothing(self):
        pool = self.pool().start()
        pool.mount(self.directory('m'))
        child = pool.spawn('sh', '-c', 'trap "" TERM; sleep 1000 & sleep 1000')
        wait_for('the command', lambda: len(pool.members()) >= 5)
        members = pool.members()
        pool.must('stop')
        wait_for('the end', lambda: not pool.is_running())
        self.assertFalse([pid for pid in members if is_alive(pid)])
        self.assertEqual(child.wait(), 128 + signal.SIGKILL)
        self.assertEqual(sorted(os.listdir(pool.directory)), ['log', 'trace'])
        self.assertEqual([m['type'] for m in pool.messages()][-2:], ['unmount', 'quit'])

    def test_sigterm_stops(self):
        pool = self.pool().start()
        os.kill(pool.pid, signal.SIGTERM)
        wait_for('the end', lambda: not pool.is_running())
        self.assertFalse(os.path.exists(pool.path('init.json')))

    def test_sigkill_leaves_no_process_and_no_mount(self):
        pool = self.pool().start()
        pool.mount(self.directory('m'))
        pool.must('server-start', name='s', argv=['sleep', '1000'], env={}, cwd='/', restart='always', door='kernel')
        child = pool.spawn('sh', '-c', 'setsid sleep 1000 & exec sleep 1000')
        wait_for('all of them', lambda: len(pool.members()) == 5)
        members = pool.members()
        os.kill(pool.pid, signal.SIGKILL)
        wait_for('their end', lambda: not [pid for pid in members if is_alive(pid)])
        self.assertEqual(child.wait(), 128 + signal.SIGKILL)
        pool.start()  # and it starts again over what the dead one left
        self.assertEqual(pool.status()['mounts'], [])

    def test_the_service_that_fails_says_why(self):
        pool = self.pool()
        pool.set('fail', 'first line\nthe disk is made of cheese\n')
        outcome = pool.try_start()
        self.assertEqual(outcome.returncode, 1)
        self.assertEqual(outcome.stderr.count('\n'), 1, outcome.stderr)
        self.assertIn('the disk is made of cheese', outcome.stderr)
        self.assertEqual(sorted(os.listdir(pool.directory)), ['fail', 'log', 'trace'])

    def test_bad_arguments(self):
        pool = self.pool()
        cases = [
            (['--workers', '99'], 2, '--workers'),
            (['--workers', 'many'], 2, '--workers'),
            (['--trust', 'nobody'], 2, '--trust'),
            (['--name', 'alone'], 2, '--name'),
            (['--dir', 'relative'], 2, '--dir'),
            (['--dir', '/nonexistent/x'], 1, '/nonexistent/x'),
            (['--service', '/nonexistent/s'], 1, '/nonexistent/s'),
            (['--cgroup', '/nonexistent/cgroup.procs'], 1, '/nonexistent/cgroup.procs'),
            (['--surprise'], 2, 'usage'),
            (['more'], 2, 'more'),
        ]
        for extra, status, text in cases:
            with self.subTest(extra=extra):
                outcome = pool.try_start(*extra)
                self.assertEqual(outcome.returncode, status, outcome.stderr)
                self.assertIn(text, outcome.stderr)
        outcome = subprocess.run(['setpriv', '--reuid', '65534', '--clear-groups', INIT, '--dir', pool.directory, '--name', 'a/b', '--service', FAKE, '--modules', '/', '--library', '/'],
                                 capture_output=True, text=True)
        self.assertEqual(outcome.returncode, 1)
        self.assertRegex(outcome.stderr, 'root|Permission denied')

    def test_one_per_directory(self):
        pool = self.pool().start()
        outcome = pool.try_start()
        self.assertEqual(outcome.returncode, 1)
        self.assertIn('another pool-init', outcome.stderr)
        pool.status()

    def test_a_starter_that_is_killed_takes_the_pool_along(self):
        pool = self.pool()
        pool.set('silent')
        starter = subprocess.Popen(pool.start_arguments(), env=pool.env, stderr=subprocess.DEVNULL)
        wait_for('the service', lambda: pool.messages('go'))
        inner = [int(pid) for pid in text(f'/proc/{starter.pid}/task/{starter.pid}/children').split()]
        self.assertEqual(len(inner), 1)
        starter.kill()
        starter.wait()
        wait_for('the end of the pool', lambda: not is_alive(inner[0]))
        pool.unset('silent')
        pool.start()

    def test_orphans_are_reaped(self):
        pool = self.pool().start()
        for _ in range(20):
            pool.enter('sh', '-c', 'setsid sh -c "exit 3" & setsid true & exit 0')
        wait_for('no zombies', lambda: not [p for p in os.listdir('/proc') if p.isdigit() and parent_of(p) == pool.pid and not is_alive(p)])

    def test_host_mounts_propagate_in_and_not_out(self):
        pool = self.pool().start()
        inside = self.directory('inside')
        pool.enter('mount', '-t', 'tmpfs', 'tmpfs', inside)
        self.assertIn(inside, pool.enter('cat', '/proc/mounts').stdout)
        self.assertNotIn(inside, text('/proc/mounts'))


def parent_of(pid):
    try:
        with open(f'/proc/{pid}/stat') as file:
            return int(file.read().rsplit(')', 1)[1].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0


class ControlSocket(PoolCase):
    def test_many_requests_in_pieces(self):
        pool = self.pool().start()
        control = pool.control()
        for byte in b'{"op":"status"}\n{"op":"status"}\n':
            control.send(bytes([byte]))
        self.assertTrue(control.receive()['ok'])
        self.assertTrue(control.receive()['ok'])
        control.send(b'{"op":"status"}\n' * 500)
        for _ in range(500):
            self.assertTrue(control.receive()['ok'])
        control.send(b'\n\n{"op":"status"}')
        control.socket.shutdown(1)
        control.close()

    def test_half_closed_gets_its_answers(self):
        pool = self.pool().start()
        control = pool.control()
        control.send(b'{"op":"status"}\n{"op":"status"}\n')
        control.socket.shutdown(1)
        self.assertTrue(control.receive()['ok'])
        self.assertTrue(control.receive()['ok'])
        self.assertIsNone(control.receive())
        control.close()

    def test_hostile_lines(self):
        pool = self.pool().start()
        control = pool.control()
        lines = [b'nonsense', b'[]', b'null', b'{}', b'{"op":1}', b'{"op":"fly"}', b'{"op":"status","op":"status"}', b'\xff\xfe\x00', b'{"op":"st\\u0000atus"}', b'[' * 100000, b'"' + b'x' * 900000 + b'"',
                 b'{"op":"mount"}', b'{"op":"mount","instance":"x","mountpoint":"relative","plan":{}}', b'{"op":"mount","instance":"x","mountpoint":"/a/../b","plan":{}}',
                 b'{"op":"mount","instance":"x","mountpoint":"/' + b'a' * 1200 + b'","plan":{}}', b'{"op":"mount","instance":"x","mountpoint":"/a","plan":[]}',
                 b'{"op":"mount","instance":"x","mountpoint":"/a","plan":{},"door":{"cache":"some"}}', b'{"op":"mount","instance":"x","mountpoint":"/","plan":{}}',
                 b'{"op":"unmount"}', b'{"op":"unmount","mountpoint":"/nowhere"}', b'{"op":"unmount","mountpoint":5}', b'{"op":"server-start","name":"../x","argv":["a"]}',
                 b'{"op":"server-start","name":"x","argv":[]}', b'{"op":"server-start","name":"x","argv":[1]}', b'{"op":"server-start","name":"x","argv":["true"],"env":{"A=B":"c"},"door":"kernel"}',
                 b'{"op":"server-start","name":"x","argv":["true"],"env":{"A":5},"door":"kernel"}', b'{"op":"server-start","name":"x","argv":["true"],"cwd":"x"}',
                 b'{"op":"server-stop","name":"nobody"}', b'{"op":"server-stop"}', b'{"op":"server-restart","name":"nobody"}', b'{"op":"kill","graceSeconds":-1}', b'{"op":"kill","graceSeconds":"x"}',
                 b'{"op":"kill","graceSeconds":1e300}']
        for line in lines:
            control.send(line + b'\n')
            answer = control.receive()
            self.assertIs(answer['ok'], False, line[:80])
            self.assertIn(answer['error']['code'], ('EINVAL', 'ENOENT', 'ENAMETOOLONG'), line[:80])
        control.close()
        self.assertEqual(pool.status()['service']['restarts'], 0)

    def test_a_line_that_never_ends(self):
        pool = self.pool().start()
        control = pool.control()
        try:
            for _ in range(80):
                control.send(b'x' * 65536)
        except (BrokenPipeError, ConnectionResetError):
            pass
        try:
            answer = control.receive()
            self.refused(answer, 'EMSGSIZE')
        except ConnectionResetError:
            pass
        control.close()
        pool.status()

    def test_many_connections_and_readers_that_do_not_read(self):
        pool = self.pool().start()
        idle = [pool.control() for _ in range(200)]
        for control in idle[:20]:
            control.socket.setblocking(False)
            try:
                while True:
                    control.send(b'{"op":"status"}\n' * 100)
            except BlockingIOError:
                pass
        wait_for('an answer', pool.status)  # they keep nobody else waiting
        for control in idle:
            control.close()
        more = [pool.control() for _ in range(300)]  # beyond the limit: hung up on, not hung
        for control in more:
            control.close()
        wait_for('an answer', lambda: answers(pool))


def answers(pool):
    try:
        return pool.ask('status')
    except (ConnectionError, OSError):
        return None


class Mounts(PoolCase):
    def test_mount_and_unmount(self):
        pool = self.pool().start()
        at = os.path.join(self.base, 'x/y/z')
        answer = pool.mount(at, make=True)
        self.assertEqual(answer['madeDirectory'], [os.path.join(self.base, part) for part in ('x', 'x/y', 'x/y/z')])
        self.assertEqual(pool.status()['mounts'], [{'instance': 'data', 'mountpoint': at, 'device': answer['device'], 'restored': False, 'state': 'served'}])
        told = pool.messages('mount')
        self.assertEqual(len(told), 1)
        self.assertEqual(told[0]['descriptors'], 4)  # plan, fuse, and the two clones asked for
        self.assertEqual(told[0]['cache'], 'auto')
        device = pool.enter('stat', '-c', '%Hd:%Ld', at).stdout.strip()
        self.assertEqual(device, answer['device'])
        self.assertIn(f'diciclo {at} fuse.diciclo', pool.enter('cat', '/proc/mounts').stdout)
        self.assertNotIn(at, text('/proc/mounts'))
        self.refused(pool.mount(at), 'EEXIST')
        pool.must('unmount', mountpoint=at)
        self.assertEqual(pool.status()['mounts'], [])
        self.assertEqual(pool.messages('unmount')[0]['id'], 1)
        self.refused(pool.ask('unmount', mountpoint=at), 'ENOENT')
        pool.mount(at)
        self.assertEqual(pool.messages('mount')[1]['id'], 2)  # never reused

    def test_the_mount_table_says_so(self):
        pool = self.pool().start()
        first, second = self.directory('m1'), self.directory('m2')
        answer = pool.mount(first)
        pool.mount(second, name='two')
        self.assertEqual(table(pool), [(1, 1, answer['device'], first), (2, 1, pool.status()['mounts'][1]['device'], second)])
        pool.must('unmount', mountpoint=first)
        self.assertEqual([entry[0] for entry in table(pool)], [2])

    def test_failures_leave_nothing(self):
        pool = self.pool().start()
        at = os.path.join(self.base, 'p/q')
        self.assertIn('does not exist', self.refused(pool.mount(at), 'ENOENT'))
        self.assertIn('colour', self.refused(pool.mount(at, name='refused', make=True), 'EDOM'))
        self.assertFalse(os.path.exists(os.path.join(self.base, 'p')))
        open(os.path.join(self.base, 'file'), 'w').close()
        self.refused(pool.mount(os.path.join(self.base, 'file')), 'ENOTDIR')
        self.refused(pool.mount(os.path.join(self.base, 'file/below'), make=True), 'ENOTDIR')
        self.assertIn('ended', self.refused(pool.mount(at, name='crash', make=True), 'EIO'))
        pool.wait_restarted(1)
        self.assertFalse(os.path.exists(os.path.join(self.base, 'p')))
        self.assertEqual(pool.status()['mounts'], [])
        self.assertNotIn(self.base + '/p', pool.enter('cat', '/proc/mounts').stdout)
        self.assertEqual(table(pool), [])
        fresh = self.pool('b').start()
        fresh.status()
        wait_for('no descriptors more than at the start', lambda: len(descriptors(pool)) == len(descriptors(fresh)))

    def test_busy(self):
        pool = self.pool().start()
        at = self.directory('m')
        pool.mount(at)
        child = pool.spawn('sh', '-c', f'cd {at} && echo in && read x')
        child.stdout.readline()
        self.assertIn('in use', self.refused(pool.ask('unmount', mountpoint=at), 'EBUSY'))
        self.assertEqual(table(pool)[0][1], 1)  # carried as before
        self.assertEqual(pool.enter('stat', '-f', at).returncode, 0)
        pool.must('unmount', mountpoint=at, force=True)
        self.assertEqual(pool.status()['mounts'], [])

    def test_unmounted_by_hand(self):
        pool = self.pool().start()
        at, other = self.directory('m'), self.directory('o')
        pool.mount(at)
        pool.mount(other)
        self.assertEqual(pool.enter('umount', at).returncode, 0)
        wait_for('its end', lambda: [mount['mountpoint'] for mount in pool.status()['mounts']] == [other])
        self.assertEqual(wait_for('the service to be told', lambda: pool.messages('unmount'))[0]['id'], 1)
        self.assertEqual([entry[0] for entry in table(pool)], [2])
        wait_for('room for another', lambda: pool.mount(at)['ok'])

    def test_sixty_four(self):
        pool = self.pool().start()
        for number in range(64):
            self.assertTrue(pool.mount(os.path.join(self.base, f'm{number}'), make=True)['ok'])
        self.refused(pool.mount(os.path.join(self.base, 'm64'), make=True), 'ENOSPC')
        pool.kill_service()
        pool.wait_restarted(1)
        wait_for('all served', lambda: all(mount['restored'] for mount in pool.status()['mounts']))
        pool.must('stop')
        wait_for('the end', lambda: not pool.is_running())


def table(pool):
    """(instance, flags, device, path) of every entry of the mount table (native/ipc/segment.h)."""
    import struct
    with open(pool.path('mounts'), 'rb') as file:
        data = file.read()
    magic, version, count, generation = struct.unpack_from('<QIIQ', data)
    assert magic == 0x73746e756f6d6364 and generation % 2 == 0
    entries = []
    for at in range(64, 64 + 1024 * count, 1024):
        instance, flags, device, length, _, path = struct.unpack_from('<IIQII1000s', data, at)
        if instance:
            entries.append((instance, flags, f'{os.major(device)}:{os.minor(device)}', path[:length].decode()))
    return entries


def descriptors(pool):
    return os.listdir(f'/proc/{pool.pid}/fd')


class Restart(PoolCase):
    environment = {}

    def test_the_service_comes_back_with_its_mounts(self):
        pool = self.pool(env=self.environment).start()
        at = self.directory('m')
        pool.mount(at)
        nested = pool.mount(self.directory('n'), name='other')
        self.assertTrue(nested['ok'])
        took = []
        for round_ in range(1, 4):
            before = time.monotonic()
            old = pool.kill_service()
            self.answered_by(pool, at, round_ + 1)
            took.append(time.monotonic() - before)
            service = pool.wait_restarted(old['epoch'])
            self.assertEqual(service['restarts'], round_)
        self.assertLess(min(took), 1, 'within a second, where nobody else keeps the machine busy')
        self.assertTrue(all(mount['restored'] for mount in pool.status()['mounts']))
        self.assertEqual(pool.record()['service'], {'pid': service['pid'], 'epoch': 4, 'restarts': 3})
        self.assertEqual(len(table(pool)), 2)
        self.assertEqual([(entry[2], entry[3]) for entry in table(pool)], [(m['device'], m['mountpoint']) for m in pool.status()['mounts']])
        pool.must('unmount', mountpoint=at)

    def answered_by(self, pool, at, epoch):
        self.assertEqual(pool.enter('stat', '-f', '-c', '%b', at).stdout.strip(), str(epoch))

    def test_everything_is_told_before_go(self):
        pool = self.pool(env=self.environment).start()
        pool.mount(self.directory('m'))
        child, answer = self.attach(pool)
        self.assertEqual(answer['result'], 0)
        old = pool.kill_service()
        pool.wait_restarted(old['epoch'])
        story = [message for message in pool.messages() if message.get('epoch') == 2 and message['type'] != 'held']
        self.assertEqual([message['type'] for message in story], ['start', 'client-add', 'mount', 'go'])
        self.assertEqual((story[1]['client'], story[1]['generation']), (answer['client'], answer['generation']))
        child.stdin.close()
        wait_for('client-del', lambda: pool.messages('client-del'))

    def test_pending_requests(self):
        pool = self.pool(env=self.environment).start()
        at = self.directory('m')
        pool.mount(at)
        pool.set('hold')
        waiting = pool.spawn('stat', '-f', '-c', '%b', at)
        wait_for('the request', lambda: pool.messages('held'))
        pool.unset('hold')
        pool.kill_service()
        status = waiting.wait(timeout=20)
        self.check_pending(pool, waiting, status)
        self.assertEqual(pool.enter('stat', '-f', at).returncode, 0)

    def check_pending(self, pool, waiting, status):
        self.assertEqual((status, waiting.stdout.read()), (0, '2\n'))
        self.assertTrue(pool.messages('resent'))
        self.assertIs(pool.messages('mount')[1]['resend'], True)

    def test_a_mount_inside_a_mount_point_of_the_host(self):
        pool = self.pool(env=self.environment).start()
        outer, inner = self.directory('o'), self.directory('o/i')
        self.assertTrue(pool.mount(inner, name='inner')['ok'])
        self.assertTrue(pool.mount(outer, name='outer')['ok'])  # covers the inner one
        old = pool.kill_service()
        pool.wait_restarted(old['epoch'])
        self.assertEqual(pool.enter('stat', '-f', outer).returncode, 0)
        wait_for('no further change', lambda: pool.status()['service']['state'] == 'running')

    def test_back_off(self):
        pool = self.pool(env=self.environment).start()
        pool.set('fail', 'no')
        pool.kill_service()
        wait_for('five deaths', lambda: pool.status()['service']['restarts'] >= 5)
        self.assertEqual(pool.status()['service']['state'], 'backoff')
        delays = [int(line.rsplit(' ', 2)[1]) for line in pool.log().splitlines() if 'started again in' in line]
        self.assertEqual(delays[:5], [0, 0, 100, 200, 400])
        pool.unset('fail')
        pool.wait_restarted(1)

    def test_what_cannot_be_mounted_again_answers_errors(self):
        pool = self.pool(env=self.environment).start()
        good, bad = self.directory('g'), self.directory('b')
        pool.mount(good)
        pool.mount(bad, name='once')
        pool.set('hold')
        waiting = pool.spawn('stat', '-f', bad, stderr=subprocess.DEVNULL)
        wait_for('the request', lambda: pool.messages('held'))
        pool.unset('hold')
        pool.wait_restarted(pool.kill_service()['epoch'])
        self.assertEqual(waiting.wait(timeout=20), 1)
        self.assertEqual(pool.enter('stat', '-f', good).returncode, 0)
        # Errors, not the directory beneath: what is written there now would be lost later.
        self.assertEqual(pool.enter('sh', '-c', f'echo x > {bad}/f').returncode, 2)
        self.assertEqual(os.listdir(bad), [])
        self.assertEqual([(mount['instance'], mount['state']) for mount in pool.status()['mounts']], [('data', 'served'), ('once', 'failed')])
        self.assertEqual([(entry[0], entry[1]) for entry in table(pool)], [(1, 1), (2, 0)])
        pool.wait_restarted(pool.kill_service()['epoch'])
        self.refused(pool.mount(bad), 'EEXIST')
        pool.must('unmount', mountpoint=bad)
        self.assertTrue(pool.mount(bad)['ok'])
        self.assertEqual(pool.enter('stat', '-f', bad).returncode, 0)

    def test_the_directory_beneath_never_shows(self):
        pool = self.pool(env=self.environment).start()
        at = self.directory('m')
        pool.mount(at)
        writer = pool.spawn('sh', '-c', f'while :; do echo x > {at}/f; done', stderr=subprocess.DEVNULL)
        for _ in range(4):
            pool.wait_restarted(pool.kill_service()['epoch'])
        writer.kill()
        self.assertEqual(os.listdir(at), [])
        pool.must('unmount', mountpoint=at, force=True)
        self.assertNotIn(at, pool.enter('cat', '/proc/mounts').stdout)

    def test_stop_while_the_service_fails(self):
        pool = self.pool(env=self.environment).start()
        pool.mount(self.directory('m'))
        pool.set('fail', 'no')
        pool.kill_service()
        wait_for('back-off', lambda: pool.status()['service']['state'] == 'backoff' and pool.status()['service']['restarts'] >= 4)
        before = time.monotonic()
        pool.must('stop')
        wait_for('the end', lambda: not pool.is_running())
        self.assertLess(time.monotonic() - before, 20)


class RestartOnOldKernel(Restart):
    """As on a kernel without FUSE_NOTIFY_RESEND (Debian 12's 6.1): mounted anew, and whoever waits gets an error instead of waiting for ever."""
    environment = {'DICICLO_TEST_NO_RESEND': '1'}

    def answered_by(self, pool, at, epoch):
        # What was asked before pool-init knew of the death is answered with an error.
        wait_for('an answer', lambda: pool.enter('stat', '-f', '-c', '%b', at).stdout.strip() == str(epoch))

    def check_pending(self, pool, waiting, status):
        self.assertEqual(status, 1)
        wait_for('the second mount', lambda: len(pool.messages('mount')) == 2)
        self.assertFalse(pool.messages('resent'))
        self.assertIs(pool.messages('mount')[1]['resend'], False)

    def test_nested(self):
        # The fake has an empty root, so the inner mount point is not below the outer one's tree but covers it: bind order only.
        pool = self.pool(env=self.environment).start()
        at = self.directory('m')
        pool.mount(at)
        child = pool.spawn('sh', '-c', f'cd {at} && echo in && read x; ls .')
        child.stdout.readline()
        old = pool.kill_service()
        pool.wait_restarted(old['epoch'])
        child.stdin.close()
        self.assertNotEqual(child.wait(timeout=20), None)  # an error, not a hang


class Servers(PoolCase):
    def start_server(self, pool, name, script, restart='never', **fields):
        return pool.ask('server-start', **{'name': name, 'argv': ['sh', '-c', script], 'env': {}, 'cwd': '/', 'restart': restart, 'door': 'kernel', **fields})

    def server(self, pool, name):
        return next((server for server in pool.status()['servers'] if server['name'] == name), None)

    def test_its_surroundings(self):
        pool = self.pool().start()
        at = self.directory('cwd')
        answer = self.start_server(pool, 's', 'pwd; echo A=$A P=$LD_PRELOAD D=$DICICLO_POOL_DIR; cat; ps -o sid= -p $$; echo err >&2; exec sleep 1000', cwd=at, env={'A': 'b c'})
        self.assertTrue(is_alive(answer['pid']))
        self.assertEqual(self.server(pool, 's'), {'name': 's', 'pid': answer['pid'], 'state': 'running', 'restarts': 0, 'exit': None})
        wait_for('its output', lambda: 'err' in pool.log('server-s'))
        lines = pool.log('server-s').split('\n')
        self.assertEqual(lines[:2], [at, 'A=b c P= D='])
        inside = pool.enter('pgrep', '-x', 'sleep').stdout.split()
        self.assertEqual(lines[2].split(), inside)  # a session of its own
        self.refused(self.start_server(pool, 's', 'true'), 'EEXIST')
        self.assertEqual(pool.must('server-stop', name='s', signal='TERM', graceSeconds=5)['exit'], 128 + signal.SIGTERM)
        self.assertIsNone(self.server(pool, 's'))
        self.refused(pool.ask('server-stop', name='s'), 'ENOENT')

    def test_the_library_door(self):
        pool = self.pool().start()
        self.start_server(pool, 's', 'echo $LD_PRELOAD $DICICLO_POOL_DIR', door='library', env={'LD_PRELOAD': ''})
        wait_for('its output', lambda: pool.directory in pool.log('server-s'))
        answer = self.start_server(pool, 't', 'echo $DICICLO_SYSCALLS', door='library', syscalls='dispatch')
        if answer['ok']:
            wait_for('its output', lambda: 'dispatch' in pool.log('server-t'))
        else:
            self.assertIn('cannot dispatch', self.refused(answer, 'EINVAL'))
        self.refused(self.start_server(pool, 'u', 'true', door='kernel', syscalls='dispatch'), 'EINVAL')

    def test_what_cannot_be_started_is_not_known(self):
        pool = self.pool().start()
        answer = pool.ask('server-start', name='s', argv=['/nonexistent/server'], env={}, cwd='/', restart='always', door='kernel')
        self.assertIn('/nonexistent/server', self.refused(answer, 'ENOENT'))
        answer = pool.ask('server-start', name='s', argv=['true'], env={}, cwd='/nonexistent', restart='always', door='kernel')
        self.assertIn('/nonexistent', self.refused(answer, 'ENOENT'))
        self.refused(pool.ask('server-start', name='s', argv=['/etc/passwd'], env={}, cwd='/', restart='always', door='kernel'), 'EACCES')
        wait_for('nothing left', lambda: pool.status()['servers'] == [])

    def test_policies(self):
        pool = self.pool().start()
        self.start_server(pool, 'never', 'exit 3')
        self.start_server(pool, 'fine', 'exit 0', restart='on-failure')
        self.start_server(pool, 'bad', 'exit 4', restart='on-failure')
        self.start_server(pool, 'always', 'exit 0', restart='always')
        wait_for('restarts', lambda: self.server(pool, 'bad')['restarts'] >= 4 and self.server(pool, 'always')['restarts'] >= 4)
        self.assertEqual([self.server(pool, 'never')[key] for key in ('state', 'restarts', 'exit', 'pid')], ['failed', 0, 3, None])
        self.assertEqual([self.server(pool, 'fine')[key] for key in ('state', 'restarts', 'exit')], ['stopped', 0, 0])
        delays = [int(line.rsplit(' ', 2)[1]) for line in pool.log().splitlines() if 'server bad' in line]
        self.assertEqual(delays[:4], [0, 0, 100, 200])
        self.assertTrue(self.start_server(pool, 'never', 'exit 3')['ok'])  # one that ended may be started anew
        pool.must('server-stop', name='always')

    def test_killed_and_started_again(self):
        pool = self.pool().start()
        pid = self.start_server(pool, 's', 'sleep 1000 & sleep 1000', restart='always')['pid']
        os.kill(pid, signal.SIGKILL)
        fresh = wait_for('another', lambda: (s := self.server(pool, 's'))['state'] == 'running' and s['pid'] not in (None, pid) and s)
        self.assertEqual((fresh['restarts'], fresh['exit']), (1, 137))
        again = pool.must('server-restart', name='s', graceSeconds=5)['pid']
        self.assertNotEqual(again, fresh['pid'])
        self.assertFalse(is_alive(fresh['pid']))
        pool.must('server-stop', name='s', graceSeconds=5)
        wait_for('all of its processes to end', lambda: len(pool.members()) == 2)

    def test_the_grace(self):
        pool = self.pool().start()
        pid = self.start_server(pool, 's', 'trap "" TERM; while :; do sleep 0.1; done')['pid']
        time.sleep(0.2)
        before = time.monotonic()
        answer = pool.must('server-stop', name='s', signal='TERM', graceSeconds=0.5)
        self.assertEqual(answer['exit'], 137)
        self.assertTrue(0.4 < time.monotonic() - before < 8)
        self.assertFalse(is_alive(pid))
        self.start_server(pool, 't', 'trap "exit 9" INT; while :; do sleep 0.05; done')
        time.sleep(0.2)
        self.refused(pool.ask('server-stop', name='t', signal='NOSUCH'), 'EINVAL')
        self.assertEqual(pool.must('server-stop', name='t', signal='SIGINT', graceSeconds=5)['exit'], 9)

    def test_kill_spares_the_service(self):
        pool = self.pool().start()
        self.start_server(pool, 's', 'sleep 1000', restart='always')
        child = pool.spawn('sh', '-c', 'trap "" TERM; echo in; while :; do sleep 1; done')
        child.stdout.readline()
        stopped = pool.spawn('sh', '-c', 'echo in; exec sleep 1000')
        stopped.stdout.readline()
        service = pool.status()['service']
        pool.must('kill', graceSeconds=0.3)
        self.assertEqual(child.wait(timeout=20), 137)
        self.assertEqual(stopped.wait(timeout=20), 143)
        self.assertEqual(len(pool.members()), 2)
        self.assertEqual(pool.status()['service'], service)
        self.assertEqual(self.server(pool, 's')['state'], 'stopped')
        self.assertTrue(pool.must('server-restart', name='s')['pid'])

    def test_two_stops_at_once(self):
        pool = self.pool().start()
        self.start_server(pool, 's', 'trap "" TERM; while :; do sleep 0.1; done')
        time.sleep(0.2)
        first = pool.control()
        first.send(json.dumps({'op': 'server-stop', 'name': 's', 'graceSeconds': 1}).encode() + b'\n')
        time.sleep(0.1)
        self.refused(pool.ask('server-stop', name='s'), 'EBUSY')
        self.refused(pool.ask('server-restart', name='s'), 'EBUSY')
        self.assertEqual(first.receive()['exit'], 137)
        first.close()


if __name__ == '__main__':
    main()
