#!/bin/bash
# usage (inside the pool, with the library): leaks.sh MOUNTPOINT COMMAND...
# Prints the system calls of the command that name a path below the mount point and are none of the library's own: each must have a counter to say why.
mount=$1
shift
trace=$(mktemp)
strace -f -qq -e trace=%file -o "$trace" "$@" > /dev/null 2>&1
# placeholders, upgrades by handle, the working directory, programs
grep -F "$mount" "$trace" | grep -v -E 'O_PATH|\.diciclo-handle-|getcwd|execve|chdir' | sed -E 's/^[0-9]+ +//' | sort | uniq -c | sort -rn
rm -f "$trace"
