#!/usr/bin/env python3
"""Runs programs under strace with the library and finds what went round it: each system call that names a file below the mount, by its path or by a descriptor of it, and was not made
by the library itself (its text is known by address) must be one that the library counted as not carried. Also asserts how many calls of each kind were carried per program: a silent
fall-through to the kernel fails no functional test.

usage: trace.py BUILD [PROGRAM...]     skipped (77) without root, /dev/fuse or strace
"""
import collections, os, re, shutil, subprocess, sys

sys.dont_write_bytecode = True  # beside the sources
from pool import SKIP, Pool

# program: (script run with the mount as working directory, {operation: carried at least}, not carried that is expected of it at all)
ANY_CHILD = {'mmap', 'read-shared', 'write-shared', 'lseek-shared'}
PROGRAMS = {
    'coreutils': ('''mkdir -p a/b; seq 1 5000 > f; cp f a/g; cp -a f a/b/h; mv a/g a/i; ln f l; ln -s f s; cat f a/i | wc -l; head -c 100 f | od -c | tail -1; sort -rn f -o r; tac f > t
        cut -c1 f | uniq -c > u; split -l 1000 f part; cmp f a/b/h; stat f a > /dev/null; chmod 600 f; touch -d 2020-01-01 f; truncate -s 10 t; dd if=f of=d bs=1k count=3 status=none
        du -s . > /dev/null; ls -laR > /dev/null; df . > /dev/null; install -m 755 f x; shuf f > /dev/null; paste f r > p; join f f > j; md5sum f r > m; md5sum -c --quiet m; rm -r a part* ; sync; mktemp tmpXXXXXX
        realpath s; readlink -f s; test -e f; mkfifo q; rmdir /nonexistent 2> /dev/null; find . -name '*' -newer m; grep -c 1 f; sed -i s/1/2/ f; awk '{n+=$1} END {print n}' r; xargs -n100 < r > n''',
        {'open': 40, 'read': 50, 'write': 8, 'mkdir': 2, 'rename': 2, 'link': 1, 'symlink': 1, 'unlink': 7, 'readdir': 15, 'getattr': 80, 'copy': 3, 'fsync': 1}, ANY_CHILD | {'fchdir', 'freopen'}),
    'sqlite3': ('''sqlite3 d.db "pragma journal_mode=wal; create table t(a,b); with recursive n(i) as (select 1 union all select i+1 from n where i<2000) insert into t select i,i*7 from n; create index x on t(b);
        select count(*),sum(b) from t; pragma integrity_check" ; sqlite3 e.db "create table t(a); begin; insert into t values(1); rollback; insert into t values(2); vacuum; pragma integrity_check"''',
        {'open': 6, 'read': 20, 'write': 40, 'fdatasync': 4}, {'mmap', 'fcntl-lock'}),
    'git': ('''git init -q r; cd r; git config user.email a@b; git config user.name n; seq 1 3000 > f; mkdir d; cp f d/g; git add .; git commit -qm one; sed -i s/7/8/ f; git commit -qam two; git log --oneline | wc -l
        git fsck --no-progress; git gc -q; git diff HEAD~1 | wc -l; git checkout -q -b side HEAD~1; git merge -q main 2> /dev/null || git merge -q master; git status --short; cd ..; git clone -q r c; ls c''',
        {'open': 250, 'read': 150, 'write': 80, 'rename': 15, 'mkdir': 20, 'getattr': 200}, ANY_CHILD),
    'tar': ('''mkdir d; for i in $(seq 1 60); do echo $i > d/f$i; done; ln -s f1 d/s; ln d/f1 d/l; tar cf t.tar d; mkdir x; tar xpf t.tar -C x; tar tf t.tar | wc -l; diff -r d x/d; tar czf z.tgz d; tar xzf z.tgz -C x; gzip -k t.tar; zcat t.tar.gz | cmp - t.tar''',
        {'open': 250, 'read': 60, 'write': 120, 'symlink': 2, 'link': 1, 'mkdir': 3, 'setattr': 100}, ANY_CHILD),
    'python3': ('''python3 -c "
import os, sqlite3, shutil, tempfile, glob, pathlib, zipfile, subprocess, json
os.makedirs('a/b/c'); open('a/f','w').write('x'*100000); open('a/b/g','wb').write(os.urandom(5000)); shutil.copytree('a','z'); shutil.copy2('a/f','h'); print(sorted(os.listdir('.')), len(glob.glob('**',recursive=True)))
z=zipfile.ZipFile('q.zip','w'); z.write('a/f'); z.close(); print(zipfile.ZipFile('q.zip').testzip()); t=tempfile.NamedTemporaryFile(dir='.'); t.write(b'1'); t.flush(); d=tempfile.mkdtemp(dir='.')
for p in pathlib.Path('.').rglob('*'): p.stat(); os.access(p, os.R_OK)
print(subprocess.run(['cat','a/f'],capture_output=True).stdout[:3]); os.replace('h','i'); os.truncate('i',5); os.utime('i',(1,2)); os.chmod('i',0o600); print(os.stat('i').st_mtime); shutil.rmtree('z')
"''', {'open': 20, 'read': 8, 'write': 6, 'getattr': 25, 'readdir': 10, 'mkdir': 6}, ANY_CHILD | {'sendfile'}),
    'perl': ('''perl -e 'open(F,">","pf"); print F "line $_\\n" for 1..3000; close F; open(F,"<","pf"); my $n=0; $n++ while <F>; print "$n\\n"; seek(F,10,0); read(F,my $b,5); print "$b\\n"; rename "pf","pg"; opendir(D,"."); print scalar(readdir D)?1:0,"\\n";
        mkdir "pd"; print -s "pg","\\n"; utime 1,2,"pg"; symlink "pg","ps"; print readlink("ps"),"\\n"; unlink "pg"; open(A,">>","pa"); print A "x"; close A; truncate("pa",0)' ''',
        {'open': 4, 'read': 4, 'write': 5, 'rename': 1, 'mkdir': 1, 'symlink': 1, 'unlink': 1, 'readdir': 1}, ANY_CHILD),
    'bash': ('''bash -c 'for i in $(seq 1 20); do echo $i >> log; done; exec 3<> log; read a <&3; echo x >&3; exec 3>&-; while read l; do [[ $l ]]; done < log; cat <<< here > h; mapfile -t m < log; { echo o; echo e >&2; } > o 2> e; [ -f o -a -s e ]; exec 9> nine; echo q >&9; exec 9>&-; shopt -s globstar; echo **; cd /; cd - > /dev/null; . /dev/stdin < o 2> /dev/null; pwd -P > /dev/null' ''',
        {'open': 25, 'getattr': 15, 'readdir': 2}, ANY_CHILD | {'proc-fd'}),
    'make, gcc': ('''mkdir s; for i in 1 2 3; do echo "int f$i(int x){return x+$i;}" > s/f$i.c; done; printf 'int f1(int),f2(int),f3(int);\\n#include <stdio.h>\\nint main(void){printf("%%d\\\\n",f1(f2(f3(0))));return 0;}\\n' > s/main.c
        printf 'prog: s/f1.o s/f2.o s/f3.o s/main.o\\n\\tgcc -o $@ $^\\n%%.o: %%.c\\n\\tgcc -c -o $@ $<\\n' > Makefile; make -s; ./prog; make -s; ar rc lib.a s/f1.o s/f2.o; strip prog; ./prog''',
        {'open': 40, 'read': 20, 'write': 8, 'getattr': 60}, ANY_CHILD),
    'rsync': ('''mkdir d; for i in $(seq 1 40); do seq 1 $i > d/f$i; done; rsync -a d/ e/; echo more >> d/f3; rsync -ac --delete d/ e/; diff -r d e''',
        {'open': 150, 'read': 80, 'rename': 40, 'setattr': 40}, ANY_CHILD | {'fchdir'}),  # its receiver has closed descriptor 1, and writes its files under that number: the kernel door's
    'db_bench': ('''db_bench --db=rocks --num=2000 --benchmarks=fillseq,readrandom,compact --compression_type=none > /dev/null''',
        {'open': 60, 'read': 80, 'write': 2000, 'rename': 8, 'fdatasync': 10, 'fsync': 10, 'readdir': 30}, {'fcntl-lock'}),
}
# System call: the counters that account for it. What is missing here must not happen at all.
ACCOUNTS = {
    'mmap': ['mmap'], 'flock': ['flock'], 'read': ['read-shared'], 'readv': ['read-shared'], 'write': ['write-shared'], 'writev': ['write-shared'], 'lseek': ['lseek-shared'],
    'getdents64': ['read-shared', 'ftw', 'glob', 'fts'], 'sendfile': ['sendfile'], 'splice': ['splice'], 'ioctl': ['ioctl', 'other-kind'], 'poll': ['poll'], 'ppoll': ['poll'], 'select': ['select'],
    'pselect6': ['select'], 'epoll_ctl': ['epoll'], 'fchdir': ['fchdir'], 'copy_file_range': ['copy-range'], 'openat': ['freopen', 'proc-fd'],
}
WALKERS = ['ftw', 'glob', 'fts']
# Whose work on the descriptor or on the working directory is the kernel's by design (docs/library.md); the loader's and the kernel's own look at a program.
BY_DESIGN = {'close', 'dup', 'dup2', 'dup3', 'close_range', 'chdir', 'getcwd', 'execve', 'munmap'}
BY_DESIGN_FCNTL = ('F_DUPFD', 'F_GETFD', 'F_SETFD', 'F_GETFL', 'F_SETFL')
DATA_CALLS = {'read', 'readv', 'pread64', 'preadv', 'preadv2', 'write', 'writev', 'pwrite64', 'pwritev', 'pwritev2'}
PATH_CALLS = {'open', 'stat', 'lstat', 'access', 'mkdir', 'rmdir', 'unlink', 'rename', 'link', 'symlink', 'readlink', 'chmod', 'chown', 'lchown', 'truncate', 'utime', 'utimes', 'mknod', 'statfs', 'creat',
              'getxattr', 'lgetxattr', 'setxattr', 'lsetxattr', 'listxattr', 'llistxattr', 'removexattr', 'lremovexattr'}
LINE = re.compile(r'^(\d+)\s+\[([0-9a-f]+)\] (\w+)\((.*)$')
MAP = re.compile(r'mmap\((?:NULL|0x[0-9a-f]+), (\d+), [^,]*PROT_EXEC[^,]*, [^,]*, \d+<([^>]*)>, (?:0x[0-9a-f]+|0) *\) += (0x[0-9a-f]+)')


class Trace:
    """What a trace says: the library's text, and the calls that name something below the mount."""

    def __init__(self, path, mount, library):
        self.mount, self.ranges, self.unfinished = mount, [], {}
        lines = [self.whole(line) for line in open(path, errors='replace')]
        lines = [line for line in lines if line]
        for line in lines:
            found = MAP.search(line)
            if found and found[2] == library:
                self.ranges.append((int(found[3], 16), int(found[3], 16) + int(found[1])))
        self.round = [call for call in map(self.call, lines) if call]

    def whole(self, line):
        """Puts `<unfinished ...>` and `resumed` together: the pid's call, once it is complete."""
        pid = line.split(' ', 1)[0]
        if '<unfinished ...>' in line:
            self.unfinished[pid] = line.split('<unfinished ...>')[0]
            return None
        resumed = re.match(r'^\d+\s+\[[^\]]*\] <\.\.\. \w+ resumed>(.*)$', line)
        return self.unfinished.pop(pid, '') + resumed[1] if resumed else line.rstrip('\n')

    def call(self, line):
        """(name, line) of a call below the mount that the library did not make."""
        found = LINE.match(line)
        if not found or any(low <= int(found[2], 16) < high for low, high in self.ranges):
            return None
        # Not the answer; and of the directory an absolute path makes no use.
        name, arguments = found[3], re.sub(r'(?:AT_FDCWD|\d+)<[^>]*>, (?="/)', '', found[4].rsplit(') = ', 1)[0])
        if name in DATA_CALLS:
            arguments = re.sub(r'"(?:[^"\\]|\\.)*"', '', arguments)  # a path in a pipe is no name
        below = any(mark in arguments for mark in (f'"{self.mount}/', f'"{self.mount}"', f'<{self.mount}/', f'<{self.mount}>'))
        relative = name in PATH_CALLS and re.match(r'"[^/"]', arguments)
        return (name, line) if below or relative else None


def by_design(name, line):
    if name in BY_DESIGN or (name == 'fcntl' and any(command in line for command in BY_DESIGN_FCNTL)):
        return True
    # Inherited standard streams, and what they are asked by those who never look at them otherwise: docs/library.md.
    return name in ('read', 'write', 'readv', 'writev', 'lseek', 'newfstatat', 'fstat', 'fadvise64', 'ioctl', 'poll', 'ppoll', 'pselect6', 'splice', 'sendfile') and re.search(r'\((?:\[\{fd=)?[012]<', line) is not None


def unexplained(trace, uncarried):
    groups = collections.defaultdict(list)
    for name, line in trace.round:
        if not by_design(name, line):
            groups['fcntl-lock' if name == 'fcntl' and 'LK' in line else name].append(line)
    walked = sum(uncarried.get(name, 0) for name in WALKERS)
    problems = []
    for name, lines in groups.items():
        counters = ['fcntl-lock'] if name == 'fcntl-lock' else ['fcntl'] if name == 'fcntl' else ACCOUNTS.get(name, [])
        allowed = sum(uncarried.get(counter, 0) for counter in counters)
        if walked and name in ('openat', 'newfstatat', 'getdents64', 'lstat', 'stat'):
            continue  # a counted walk makes as many calls as there are files
        if len(lines) > allowed:
            problems.append(f'{len(lines)} x {name}, {allowed} counted as {"/".join(counters) or "nothing"}:')
            problems.extend(f'    {line[:220]}' for line in lines[:6])
    return problems


def run(pool, name):
    script, wanted, expected = PROGRAMS[name]
    where, trace = os.path.join(pool.mount, name.replace(', ', '-')), os.path.join(pool.work, 'trace')
    subprocess.run(pool.inside(['mkdir', '-p', where]), check=True)
    before = pool.stats()
    argv = ['strace', '-f', '-i', '-y', '-qq', '-s', '200', '-e', 'trace=%file,%desc', '-e', 'signal=none', '-o', trace, 'sh', '-c', f'cd {where} || exit 99\n{script}']
    result = subprocess.run(pool.inside(argv), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, timeout=240, env={**os.environ, 'UV_USE_IO_URING': '0'})
    after = pool.stats()
    library, kernel, uncarried = ({key: after[i].get(key, 0) - before[i].get(key, 0) for key in after[i]} for i in range(3))
    uncarried = {key: count for key, count in uncarried.items() if count}
    problems = unexplained(Trace(trace, pool.mount, os.path.realpath(pool.library)), uncarried)
    if result.returncode:
        problems.append(f'status {result.returncode}: {result.stdout.decode(errors="replace")[-500:]}')
    problems += [f'{operation}: {library.get(operation, 0)} carried, at least {least} expected' for operation, least in wanted.items() if library.get(operation, 0) < least]
    problems += [f'not carried, unexpectedly: {counter} {count}' for counter, count in uncarried.items() if counter not in expected]
    print(f'{name}: carried {sum(library.values())} {library}; kernel door {sum(kernel.values())} {kernel}; not carried {uncarried}')
    print('\n'.join(f'  {problem}' for problem in problems), end='\n' if problems else '')
    return not problems


def main():
    names = sys.argv[2:] or list(PROGRAMS)
    if not shutil.which('strace'):
        print('strace is not installed')
        sys.exit(SKIP)
    good = True
    with Pool(sys.argv[1]) as pool:
        for name in names:
            program = name.split(',')[0]
            if program == 'coreutils' or shutil.which(program):
                good = run(pool, name) and good
            else:
                print(f'{name}: not installed')
    sys.exit(0 if good else 1)


main()
