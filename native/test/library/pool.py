"""A pool of its own for one test: directories, pool-init, one instance (a cache over a host directory) at `mount`. Everything goes when the block ends."""
import json, os, shutil, socket, subprocess, sys, tempfile, time

SKIP = 77  # meson: skipped
os.environ.setdefault('DICICLO_PATIENCE', '0')  # all that can be is carried, from the first call on


class Pool:
    def __init__(self, build):
        if os.geteuid() != 0 or not os.path.exists('/dev/fuse'):
            print('a pool needs root and /dev/fuse')
            sys.exit(SKIP)
        self.build = build
        self.library = os.environ.get('LIBRARY', f'{build}/library/libdiciclo.so')
        self.work = tempfile.mkdtemp(prefix='dc-library-')
        reaper = os.path.join(os.path.dirname(os.path.realpath(__file__)), '../../../test/reaper.py')
        self.reaper = subprocess.Popen([sys.executable, reaper, self.work], stdin=subprocess.PIPE, start_new_session=True)
        self.directory, self.mount, self.back, self.host = (os.path.join(self.work, name) for name in ('pool', 'mnt', 'back', 'host'))
        for path in (self.directory, self.directory + '/log', self.mount, self.back, self.host):
            os.mkdir(path)
        for path in (self.work, self.directory, self.mount, self.back, self.host):
            os.chmod(path, 0o755)
        self.small = []
        for path in (self.back, self.host) if 'SPACE' in os.environ else ():  # both run full at the same byte
            subprocess.run(['mount', '-t', 'tmpfs', '-o', f'size={os.environ["SPACE"]}', 'tmpfs', path], check=True)
            self.small.append(path)

    def use_routine(self, routine):
        """A copy profile of this CPU that says the same routine throughout."""
        path = os.environ['DICICLO_COPY_PROFILE'] = os.path.join(self.work, 'copy.json')
        rows = [{'direction': direction, 'upTo': up_to, 'routine': routine} for direction in ('toShared', 'fromShared', 'within', 'fromCache') for up_to in (512, 4096, 65536, 262144, None)]
        for cpu in ('another', None):  # the refusal of another's says what this one is called
            with open(path, 'w') as file:
                json.dump({'version': 2, 'cpu': cpu or this, 'rows': rows}, file)
            shown = json.loads(subprocess.run([f'{self.build}/tune/diciclo-tune', '--show'], stdout=subprocess.PIPE, check=True).stdout)
            this = shown.get('reason', '').split(', and this is ')[-1]
        assert shown['state'] == 'used', shown

    def __enter__(self):
        self.leased_before = 0
        try:
            if 'ROUTINE' in os.environ:
                self.use_routine(os.environ['ROUTINE'])
            subprocess.run([f'{self.build}/init/diciclo-pool-init', '--dir', self.directory, '--name', 'test/library', '--service', f'{self.build}/service/diciclo-service',
                            '--modules', f'{self.build}/libservices', '--library', f'{self.build}/library/libdiciclo.so', '--workers', '2',
                            '--trust', os.environ.get('TRUST', 'pool')], stdin=subprocess.DEVNULL, check=True)
            plan = {'version': 1, 'instance': 'data', 'root': 'data.0', 'nodes': [
                {'id': 'data.1', 'type': 'local', 'kind': 'file', 'options': {'path': self.back, 'readOnly': False}, 'children': {}},
                {'id': 'data.0', 'type': 'cache', 'kind': 'file', 'options': {'size': 32 << 20, 'mode': os.environ.get('MODE', 'write-through'), 'ttl': 1000}, 'children': {'below': ['data.1']}}]}
            self.control('control.sock', {'op': 'mount', 'instance': 'data', 'mountpoint': self.mount, 'plan': plan, 'door': {'cache': 'auto'}, 'makeDirectory': True})
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        try:
            self.control('control.sock', {'op': 'stop'})
        except OSError:
            pass
        for path in self.small:
            subprocess.run(['umount', '-l', path], check=False)
        shutil.rmtree(self.work, ignore_errors=True)
        self.reaper.stdin.close()
        self.reaper.wait()

    def control(self, sock, message):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(os.path.join(self.directory, sock))
            connection.sendall((json.dumps(message) + '\n').encode())
            answer = json.loads(connection.makefile().readline())
        if not answer.get('ok'):
            raise SystemExit(f'{message["op"]}: {answer}')
        return answer

    def reset(self):
        self.control('service.sock', {'op': 'reset'})
        self.leased_before = self.control('service.sock', {'op': 'stats'})['clients']['leasedReads']

    def stats(self):
        """({operation: count} of the library door, of the kernel door, {name: count} of what was not carried)"""
        for _ in range(200):  # what a process counted is known for good once the service has let go of it
            stats = self.control('service.sock', {'op': 'stats'})
            if stats['clients']['attached'] == 0:
                break
            time.sleep(0.02)
        self.queue, self.copy = stats['queue'], stats['copy']
        doors = stats['instances'][0]['doors']
        count = {door: {name: one['count'] for name, one in doors[door]['operations'].items()} for door in doors}
        library = count.get('library', {})
        leased = stats['clients']['leasedReads'] - self.leased_before
        if leased:  # carried too, without a request
            library['read'] = library.get('read', 0) + leased
        return library, count.get('kernel', {}), stats['clients']['uncarried']

    def dispatches(self):
        """Whether this machine's kernel can dispatch system calls to user space."""
        probe = subprocess.run([f'{self.build}/init/diciclo-enter', '--dir', self.directory, '--library', self.library, '--syscalls', 'dispatch', '--', 'true'], stderr=subprocess.PIPE)
        return b'cannot dispatch' not in probe.stderr

    def inside(self, argv, door='library'):
        return [f'{self.build}/init/diciclo-enter', '--dir', self.directory, '--door', door, '--library', self.library,
                '--syscalls', os.environ.get('SYSCALLS', 'symbols') if door == 'library' else 'symbols', '--'] + argv
