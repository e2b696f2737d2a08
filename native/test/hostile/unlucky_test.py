#!/usr/bin/env python3
"""Clients that are killed and stopped anywhere, that come and go without end, that fork in the middle of calls; and those of other pools. Afterwards everything is as before.
usage: unlucky_test.py BUILD HONEST UNLUCKY process|pool       Environment: SEED (printed), KILLS (150)."""
import json, os, signal, subprocess, sys, time

from ground import HONEST, OFFENDER, Ground, Verdict, descriptors, own_mounts, resident, result

build, honest, unlucky, trust = sys.argv[1:5]
seed, kills = int(os.environ.get('SEED', time.time_ns() % 1000000)), int(os.environ.get('KILLS', 150))
os.environ.update(TRUST=trust, MODE='write-back')

own_mounts()
verdict = Verdict()
print(f'trust: {trust}, SEED={seed}, KILLS={kills}', flush=True)


def run(ground, *argv, seconds=120):
    started = time.monotonic()
    answer = result(ground.spawn([unlucky, argv[0], os.path.join(ground.mount, 'own'), *map(str, argv[1:])], uid=OFFENDER), seconds)
    print(f'{argv[0]}: {answer} in {time.monotonic() - started:.1f} s', flush=True)
    verdict.check(f'{argv[0]}: came to its end, all right', answer and 'status' not in answer and not answer.get('wrong') and not answer.get('failed'), answer)


def holdings(ground):
    """What is held now that nobody is attached and the files are gone."""
    subprocess.run(ground.inside(['sh', '-c', f'rm -rf {ground.mount}/own/*'], 'kernel'), check=True)
    end = time.monotonic() + 30
    while True:
        stats, status = ground.control('service.sock', {'op': 'stats'}), ground.control('control.sock', {'op': 'status'})
        if stats['clients']['attached'] == 0 and not status['clients'] or time.monotonic() > end:
            break
        time.sleep(0.05)
    held, same = None, 0
    while same < 25 and time.monotonic() < end + 5:  # the control connection itself, and what pool-init is about to close
        time.sleep(0.02)
        seen = {'serviceFiles': descriptors(ground.service()['pid']), 'initFiles': descriptors(ground.pool_init())}
        held, same = seen, same + 1 if seen == held else 0
    locks = [line for line in open('/proc/locks') if any(f':{os.stat(os.path.join(ground.back, "own", name)).st_ino} ' in line for name in os.listdir(os.path.join(ground.back, 'own')))]
    return {'attached': stats['clients']['attached'], 'clients': len(status['clients']), 'depth': stats['queue']['depth'], 'locks': len(locks), **held,
            'serviceBytes': resident(ground.service()['pid']), 'initBytes': resident(ground.pool_init())}


def report(ends, stall):
    """What of the longest call is ours (issue: nobody delays another by more than 10 ms): neither a wait for a CPU, nor a CPU that stood still."""
    for end in ends:
        print(f'honest: {end.get("operations")} calls, the longest {end.get("longestMs")} ms ({end.get("longestCall")}); the longest without waits for a CPU {end.get("longestRestMs")} ms: of '
              f'{end.get("longestRestOfMs")} ms in which it waited {end.get("longestRestOwnMs")} and the service\'s threads {end.get("longestRestServiceMs")} ({end.get("longestRestCall")})')
    rest, stood = max(end.get('longestRestMs', 0) for end in ends), stall.get('longestStallMs', 0)
    print(f'longest that a CPU stood still {stood} ms{"" if stall.get("realTime") else " (no real-time priority: waits for a CPU among it)"}; ours at most {max(0, rest - stood):.1f} ms', flush=True)


def warm_up(ground):
    run(ground, 'victims', seed + 7, 40)
    run(ground, 'attaches', 40)
    result(ground.honest(honest, seed + 9, 1))


with Ground(build) as ground:
    service = ground.service()
    warm_up(ground)
    before = holdings(ground)
    stalls = subprocess.Popen([unlucky, 'stalls', '-', '-', '-'], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    load = [ground.honest(honest, 10 * seed + i, 100000) for i in range(2)]
    run(ground, 'victims', seed, kills, seconds=60 + kills)
    run(ground, 'stops', seed, 3)
    run(ground, 'forks', seed, 2)
    storm = [ground.spawn([unlucky, 'attaches', os.path.join(ground.mount, 'own'), '50'], uid=OFFENDER) for _ in range(4)]
    rates = [result(one) for one in storm]
    print(f'reconnect storm: {rates}', flush=True)
    verdict.check('reconnect storm: everybody was served', all(rate.get('failed') == 0 for rate in rates), rates)
    for program in load:
        program.send_signal(signal.SIGTERM)
    ends = [result(program) for program in load]
    stalls.send_signal(signal.SIGTERM)
    stall = result(stalls)
    report(ends, stall)
    verdict.check('honest programs saw nothing wrong', all(end.get('ok') for end in ends), ends)
    after = holdings(ground)
    print(f'before {before}\nafter  {after}', flush=True)
    for name in ('attached', 'clients', 'depth', 'locks'):
        verdict.check(f'{name}: none left', after[name] == 0, after)
    # The cache (32 MiB) is full by now. A sanitizer keeps what is freed, and says by itself what leaks.
    with open(f'{build}/init/diciclo-pool-init', 'rb') as file:
        program = file.read()
        sanitized = b'__asan_init' in program or b'__tsan_init' in program
    memory = () if sanitized else (('serviceBytes', 48 << 20), ('initBytes', 4 << 20))
    for name, room in (('serviceFiles', 8), ('initFiles', 4)) + memory:
        verdict.check(f'{name}: back where it was', after[name] <= before[name] + room, before, after)
    verdict.check('the service is the same', (ground.service()['pid'], ground.service()['restarts']) == (service['pid'], 0), ground.service())
    log = ground.log() + ground.log('init')
    verdict.check('nobody was cut off', 'cut off' not in log, log)
    verdict.check('sanitizers are silent', 'Sanitizer' not in log and 'runtime error' not in log, log)

    # Of another pool: with the path of the socket in its hand.
    with Ground(build) as other:
        other_service = other.service()
        script = f'import os, socket, struct\npeer = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\npeer.connect("{ground.directory}/attach.sock")\npeer.send(struct.pack("II", 0x64634154, 4))\nanswer, files, _, _ = socket.recv_fds(peer, 256, 2)\nprint(struct.unpack("Ii", answer[:8])[1], len(files))'
        outcome = subprocess.run(other.inside([sys.executable, '-c', script], 'kernel'), capture_output=True, text=True, timeout=60)
        verdict.check('a process of another pool is refused, and gets nothing', outcome.stdout.split() == ['1', '0'], outcome)
        verdict.check('that is said in the log', 'refused to attach a process that is not of this pool' in ground.log('init'), ground.log('init'))
verdict.end()
