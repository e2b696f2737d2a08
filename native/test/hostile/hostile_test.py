#!/usr/bin/env python3
"""Clients that lie, beside honest ones that check themselves. usage: hostile_test.py BUILD HONEST HOSTILE process|pool
Environment: SEED (printed), ROUNDS (how often each kind of lie comes; 1)."""
import os, signal, sys, time

from ground import OFFENDER, Answers, Ground, Verdict, own_mounts, result

build, honest, hostile, trust = sys.argv[1:5]
seed, rounds = int(os.environ.get('SEED', time.time_ns() % 1000000)), int(os.environ.get('ROUNDS', 1))
os.environ.update(TRUST=trust, MODE='write-back')
# Lies for which a client is always found out. In the queue nobody can be: it is shared, and what stands there accuses nobody.
FOUND = {'arena', 'fields', 'answers', 'posts', 'forge'} | ({'rings', 'ears'} if trust == 'process' else set())
MODES = ['arena', 'fields', 'answers', 'posts', 'rings', 'ears', 'forge', 'regions', 'dead', 'adopt'] + (['queue'] if trust == 'pool' else [])
LIE_MS = 1500  # who cannot be found out; the others go on until they are, and fail when that takes longer than FOUND_MS
FOUND_MS = 60000

own_mounts()
verdict = Verdict()
print(f'trust: {trust}, SEED={seed}', flush=True)
with Ground(build) as ground:
    before = ground.service()
    for name, mode in (('secret', 0o600), ('shown', 0o644)):
        with open(os.path.join(ground.back, name), 'w') as file:
            file.write(name)
        os.chmod(os.path.join(ground.back, name), mode)
    answers = Answers(ground)
    cut = []
    for turn in range(rounds):
        for mode in MODES:
            load = [ground.honest(honest, 10 * seed + i, 120) for i in range(2)]
            time.sleep(0.2)
            start = time.monotonic()
            liar = result(ground.spawn([hostile, ground.directory, ground.mount, mode, str(seed + turn), str(FOUND_MS if mode in FOUND else LIE_MS)], uid=OFFENDER, door='kernel'))
            found = time.monotonic() - start
            time.sleep(0.2)
            for program in load:
                program.send_signal(signal.SIGTERM)
            ends = [result(program) for program in load]
            print(f'{mode}: {liar} in {found:.1f} s; honest: {[(end.get("operations"), end.get("longestMs"), end.get("longestCall")) for end in ends]}', flush=True)
            verdict.check(f'{mode}: the liar came to its end', 'pid' in liar and liar['once'] == 0, liar)
            verdict.check(f'{mode}: honest programs saw nothing wrong', all(end.get('ok') for end in ends), ends)
            if mode in FOUND:
                verdict.check(f'{mode}: is cut off, and may not come again', liar.get('cut') and liar.get('again') == -1, liar)
                cut.append((mode, liar.get('pid')))
    longest = answers.finish()
    after, stats = ground.service(), ground.control('service.sock', {'op': 'stats'})
    service_log, init_log = ground.log(), ground.log('init')
    print(f'control: {answers.count} answers, longest in ms {longest}; queue {({key: stats["queue"].get(key) for key in ("invalidated", "mended", "spurious")})}', flush=True)
    verdict.check('control answers', answers.error is None, answers.error)
    verdict.check('the service is the same', (after['pid'], after['restarts']) == (before['pid'], before['restarts']), before, after)
    verdict.check('nobody else was cut off', stats['clients']['cutOff'] == len(cut) == service_log.count('is cut off:'), stats['clients']['cutOff'], cut, service_log)
    for mode, pid in cut:
        verdict.check(f'{mode}: named in the service log', f'pid {pid} (hostile), is cut off: ' in service_log, service_log)
    verdict.check('named in the log of pool-init', init_log.count(f'(hostile, uid {OFFENDER}) is cut off from the service') == len(cut), init_log)
    # All have ended: nothing of them is left.
    for _ in range(100):
        stats = ground.control('service.sock', {'op': 'stats'})
        if stats['clients']['attached'] == 0:
            break
        time.sleep(0.05)
    verdict.check('no client is left', stats['clients']['attached'] == 0 and not ground.control('control.sock', {'op': 'status'})['clients'], stats['clients'])
    verdict.check('sanitizers are silent', 'Sanitizer' not in service_log + init_log and 'runtime error' not in service_log + init_log, service_log)
verdict.end()
