#!/usr/bin/env python3
"""Compares native/library/symbols.txt with the libc at hand and with libdiciclo.so: every function that glibc exports has its place in the table, what the table calls carried or the
kernel's is exported, and nothing is exported that the table does not know. Also keeps the table in docs/library.md in step.

usage: symbols.py SOURCE LIBRARY [--docs] [--add]    SOURCE: the checkout; LIBRARY: libdiciclo.so
       --docs  writes the page's table;  --add  puts names that are missing into the group of what is not concerned (look at them first)
"""
import re, subprocess, sys, textwrap

CLASSES = ('carried', 'kernel', 'stream', 'inside', 'none')
EXPORTED = ('carried', 'kernel')
BEGIN, END = '<!-- symbols: made from native/library/symbols.txt -->', '<!-- /symbols -->'


def read_table(path):
    """[(class, title, [names], note)] in the file's order; SystemExit on a line that makes no sense."""
    groups = []
    for number, line in enumerate(open(path), 1):
        line = line.strip()
        if not line or line.startswith('#'):
            continue
        if line.startswith('@ '):
            kind, _, title = line[2:].partition(' ')
            if kind not in CLASSES or not title:
                sys.exit(f'{path}:{number}: expected "@ {"|".join(CLASSES)} TITLE"')
            groups.append((kind, title, [], []))
        elif not groups:
            sys.exit(f'{path}:{number}: a name before the first group')
        else:
            groups[-1][3 if line.startswith('> ') else 2].extend([line[2:]] if line.startswith('> ') else line.split())
    return groups


def exports(library):
    """What programs can name: not glibc's private names, no data."""
    lines = subprocess.run(['nm', '-D', '--defined-only', library], check=True, capture_output=True, text=True).stdout.splitlines()
    names = set()
    for line in lines:
        kind, name = line.split()[-2:]
        if kind in 'TtWwi' and '@GLIBC_PRIVATE' not in name and '@@GLIBC_PRIVATE' not in name:
            names.add(name.split('@')[0])
    return names


def libc_path():
    for line in open('/proc/self/maps'):
        if re.search(r'/libc\.so\.6$|/libc-2\.\d+\.so$', line.strip()):
            return line.split()[-1]
    sys.exit(77)  # not glibc


def page_table(groups):
    doors = {'carried': 'carried', 'kernel': 'kernel door', 'stream': 'carried, with the stream', 'inside': 'kernel door, not counted'}
    rows = ['| calls | | door |', '|---|---|---|']
    for kind, title, names, notes in groups:
        if kind == 'none':
            continue
        shown = [name for name in names if not name.startswith('_') and (name == 'getdents64' or '64' not in name)]
        rows.append(f'| {title} | `{" ".join(shown)}` | {doors[kind]}{". " + " ".join(notes) if notes else ""} |')
    return rows


def main():
    source, library = sys.argv[1:3]
    table, page = f'{source}/native/library/symbols.txt', f'{source}/docs/library.md'
    groups = read_table(table)
    problems, place = [], {}
    for kind, title, names, _ in groups:
        for name in names:
            if name in place:
                problems.append(f'{name} is in two groups: {place[name][1]}, {title}')
            place[name] = (kind, title)
    libc, ours = exports(libc_path()), exports(library)
    missing = sorted(libc - place.keys())
    if '--add' in sys.argv:
        rest = sorted(set(missing) | {name for name, (kind, _) in place.items() if kind == 'none'})
        text = open(table).read().split('\n@ none ')[0].rstrip('\n')
        lines = textwrap.wrap(' '.join(rest), 180, break_on_hyphens=False, break_long_words=False)
        open(table, 'w').write(text + '\n\n@ none no file of an instance\n' + '\n'.join(lines) + '\n')
        return
    rows = page_table(groups)
    before, _, after = open(page).read().partition(BEGIN)
    old, _, after = after.partition(END)
    new = '\n' + '\n'.join(rows) + '\n'
    if '--docs' in sys.argv:
        open(page, 'w').write(before + BEGIN + new + END + after)
        return
    problems += [f'{name}: exported by this libc, not in the table (does it concern files?)' for name in missing]
    problems += [f'{name}: {place[name][0]} says the table, but the library does not export it' for name in place if place[name][0] in EXPORTED and name not in ours]
    problems += [f'{name}: exported by the library, {"not in the table" if name not in place else place[name][0] + " says the table"}' for name in sorted(ours) if not name.startswith('diciclo_')
                 if place.get(name, ('',))[0] not in EXPORTED]
    if old != new:
        problems.append('docs/library.md: the table is not what symbols.txt says: run symbols.py --docs')
    print(f'{libc_path()}: {len(libc)} functions; the library has {len(ours)}; the table {len(place)}: '
          + ', '.join(f'{sum(1 for entry in place.values() if entry[0] == kind)} {kind}' for kind in CLASSES))
    print('\n'.join(problems))
    sys.exit(1 if problems else 0)


main()
