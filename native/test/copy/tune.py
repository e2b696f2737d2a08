#!/usr/bin/env python3
"""diciclo-tune: measures, stores, shows and removes a profile. What is fastest here is not judged, only that glibc's memcpy stays wherever nothing beat it.

usage: tune.py DICICLO_TUNE
"""
import json, os, subprocess, sys, tempfile

CLASSES = [512, 4096, 65536, 262144, None]


def tune(*arguments, status=0):
    result = subprocess.run([sys.argv[1], *arguments], stdout=subprocess.PIPE, env={**os.environ, 'DICICLO_COPY_PROFILE': profile}, timeout=240)
    assert result.returncode == status, (arguments, result.returncode)
    return json.loads(result.stdout) if result.stdout else None


with tempfile.TemporaryDirectory() as directory:
    profile = os.path.join(directory, 'not', 'yet', 'copy.json')
    assert tune('--show')['state'] == 'none'
    dry = tune('--dry-run', '--rounds', '1')
    assert dry['state'] == 'not-stored' and not os.path.exists(profile), dry
    made = tune('--rounds', '1')
    assert made['state'] == 'stored' and made['path'] == profile, made
    assert [(row['direction'], row['upTo']) for row in made['rows']] == [(d, c) for d in ('toShared', 'fromShared', 'within', 'fromCache') for c in CLASSES]
    for row in made['rows']:
        assert row['routine'] in made['candidates'] and row['bytesPerSecond'] > 0, row
        assert row['ratio'] == 1 if row['routine'] == 'libc' else row['ratio'] >= 1.03, row
    shown = tune('--show')
    assert shown['state'] == 'used' and shown['rows'] == made['rows'], shown
    assert os.listdir(os.path.dirname(profile)) == ['copy.json']
    with open(profile) as file:
        other = {**json.load(file), 'cpu': 'another'}
    with open(profile, 'w') as file:
        json.dump(other, file)
    assert tune('--show')['state'] == 'other-cpu'
    with open(profile, 'w') as file:
        file.write('{')
    assert tune('--show')['state'] == 'unreadable'
    assert tune('--reset')['state'] == 'none' and not os.path.exists(profile)
    assert tune('--reset')['state'] == 'none'
    tune('--show', '--reset', status=2)
    tune('--rounds', '0', status=2)
