#!/usr/bin/env python3
"""Control answers whatever the load: eight clients that read, write, rename and fsync without pause keep all workers busy or blocked, while the control socket is asked all the time. Reports the longest
answers, and what of them was waiting for a CPU (the asker, or the service's control thread), and asserts only that they come: what a machine's other work costs is not ours. usage: control_test.py BUILD HONEST UNLUCKY process|pool   Environment: SECONDS (4)."""
import os, signal, sys, time

from ground import OFFENDER, Answers, Ground, Verdict, own_mounts, result

build, honest, unlucky, trust = sys.argv[1:5]
seconds = int(os.environ.get('SECONDS', 4))
os.environ.update(TRUST=trust)
own_mounts()
verdict = Verdict()
with Ground(build, memory=False) as ground:
    quiet = Answers(ground)
    time.sleep(1)
    alone = quiet.finish()
    load = [ground.honest(honest, i, 1000) for i in range(8)]
    time.sleep(0.5)
    answers = Answers(ground)
    time.sleep(seconds)
    queue = ground.control('service.sock', {'op': 'queue'})
    longest = answers.finish()
    for program in load:
        program.send_signal(signal.SIGTERM)
    ends = [result(program) for program in load]
    done = sum(end.get('operations', 0) for end in ends)
    print(f'trust: {trust}: {answers.count} answers under {done} operations of 8 clients, longest in ms {longest}; without load {alone}', flush=True)
    print(f'the longest of all: { {key: round(value, 1) if isinstance(value, float) else value for key, value in answers.slowest.items()} }; without the asker\'s waits for a CPU none took more than '
          f'{answers.own_longest} ms; the control thread is {"real-time" if answers.policy in (os.SCHED_RR, os.SCHED_RR | os.SCHED_RESET_ON_FORK) else "not real-time"}')
    print(f'workers then: {[worker["state"] for worker in queue["workers"]]}, depth {queue["depth"]}')
    verdict.check('control answers', answers.error is None and quiet.error is None and answers.count > 0, answers.error)
    verdict.check('the clients worked, and saw nothing wrong', done > 0 and all(end.get('ok') for end in ends), ends)
verdict.end()
