# Heavy redirection, in the working directory, which is empty: descriptors opened, duplicated, moved, closed, shared with children, in loops, functions, pipes and subshells.
exec 2>&1
trap 'echo "exit $?"' EXIT
say() { printf '%s\n' "$*"; }
# every operator
say one > f; say two >> f; say three >| f.clobber; set -C; (say no > f) 2> /dev/null || say 'noclobber holds'; say yes >| f; (say race > new) && cat new; set +C
say both &> b; say more &>> b; ls missing &>> b; wc -l < b; say 'r w' 1<> f; cat f; cat <<< 'here string'; cat <<- 'E1' <<E2 3<<E3 <&3
	not this
E1
nor this
E2
three $((1 + 2))
E3
# numbers: chosen by bash, moved, duplicated, hard-coded, high
exec {a}> auto {b}< f; say "to auto" >&$a; read -r l <&$b; say "$l"; exec {c}>&$a; exec {a}>&-; say again >&$c; exec {c}>&- {b}<&-; cat auto
exec 3> three 4>&3-; say four >&4; (say x >&3) 2> /dev/null || say 'three is moved'; exec 5<&4 4>&-; exec 5>&-; cat three
for n in 9 10 17 63 254 255; do eval "exec $n>> nums"; eval "say $n >&$n"; done; for n in 9 10 17 63 254 255; do eval "exec $n>&-"; done; cat nums
exec 3>&1 4>&2 1> out 2> err; say stdout; say stderr >&2; ls missing; exec 1>&3 2>&4 3>&- 4>&-; cat out; sed 's/.*: //' err
# swaps
{ say out; say err >&2; } 3>&1 1>&2 2>&3 3>&- | sed 's/^/piped /'
# order
{ say o; say e >&2; } > order 2>&1; cat order; { say o; say e >&2; } 2>&1 > order | sed 's/^/p /'; cat order
# loops, functions, blocks, subshells
while read -r x; do while read -r y <&3; do say "$x-$y"; break; done; done < nums 3< <(seq 3 20); for i in 1 2 3; do say $i; [ $i = 2 ] && break; done > loop; cat loop
f() { say "in f: $(cat)"; say err >&2; } < f > fout 2>&1; f; f; cat fout; until read -r z; do :; done < loop; say $z; select s in a b; do say $s; break; done <<< 2 2> /dev/null; case x in x) say case ;; esac > case; cat case; if read -r q; then say "$q"; fi < case; (( 1 )) > arith && test -e arith && say made
( exec > sub; say sub; ( say subsub; exec >&-; say lost ) 2> /dev/null; say sub2 ); cat sub; { exec 7> seven; say s >&7; } ; say t >&7; exec 7>&-; cat seven
# one offset, many hands
exec 8> offset; say a >&8; (say b >&8; bash -c 'echo c >&8'; sh -c 'echo d >&8; exec 8>&-; echo lost >&8' 2> /dev/null); /bin/echo e >&8; say f >&8; exec 8>&-; cat offset
seq 1 9 > n; { read -r x; head -n 1 > /dev/null; read -r y; say "$x $y"; } < n; { read -r x; (read -r y; say "sub $y"); read -r z; say "$x $z"; cat | wc -l; } < n; exec 6< n; read -r -n 1 x <&6; read -r -N 2 y <&6; read -r -d 4 z <&6; say "$x|$y|$z"; cat <&6; exec 6<&-
mapfile -t -n 2 m < n; say "${m[@]}"; mapfile -t -s 3 -u 9 m 9< n; say "${#m[@]}"; exec 5<> n; read -r -u 5 x; printf 'Z' >&5; exec 5>&-; cat n | tr '\n' ' '; say
# appending from many at once
for i in 1 2 3 4 5 6; do for j in $(seq 50); do say "$i"; done >> appended & done; wait; sort appended | uniq -c
{ for i in $(seq 20); do say l$i; done & for i in $(seq 20); do say r$i; done; wait; } >> mixed; wc -l < mixed
# pipes, substitutions, coprocesses, tee
seq 100 | tee t1 t2 >(wc -l > t3) | tail -1; until [ -s t3 ]; do sleep 0.05; done; cmp t1 t2 && cat t3; paste <(head -2 t1) <(tail -2 t2) > pasted; cat pasted; diff <(sort t1) <(sort t2) > /dev/null && say same
coproc C { while read -r l; do say "<$l>"; done; }; say hello >&${C[1]}; read -r l <&${C[0]}; say "$l"; eval "exec ${C[1]}>&-"; wait; x=$(< f); say "$x"; x=$(cat f; say err >&2) 2> sink; say "$x"
mkfifo p; (cat p > fromp) & say through > p; wait; cat fromp; exec 9<> p; say loop >&9; read -r l <&9; say "$l"; exec 9>&-
# closed and bad
(cat <&-) 2> /dev/null; say $?; (say x >&-) 2> /dev/null; say $?; (cat < missing) 2> /dev/null; say $?; (say x > nodir/x) 2> /dev/null; say $?; (say x > .) 2> /dev/null; say $?; (say x >&77) 2> /dev/null; say $?; bash -c 'exec < missing; echo not here' 2> /dev/null; say $?
# /dev/fd, /dev/stdin, /proc/self/fd
say dev > d; exec 3< d; cat /dev/fd/3; exec 3<&-; cat /dev/stdin < d; say to > /dev/stdout; (say x > /dev/stderr) 2> derr; cat derr; cat /proc/self/fd/0 < d; { say w > /dev/fd/4; } 4> dw; cat dw
# traps, background, exec into another program, noexec script on standard input
(trap 'say trapped >> tr' USR1; kill -USR1 $BASHPID; say after >> tr); cat tr; (sleep 0.1; say late) > late & wait $!; cat late; (exec cat < d); echo 'read x; echo "got $x"
data line' | bash; bash < <(echo 'echo "script on a pipe"'); cat > script <<'S'
read -r next; echo "read from myself: $next"
a line of data
echo end
S
bash < script; . ./script < d; chmod +x script; sed -i 's/end/END/' script; bash script < f; cp script script2; source script2 < n | tail -1
# truncation while others hold it
exec 4>> held; say 1 >&4; : > held; say 2 >&4; exec 5> held; say 3 >&4; say five >&5; exec 4>&- 5>&-; od -c held; printf 'abc' > sparse; exec 4<> sparse; dd bs=1 seek=10 count=1 conv=notrunc of=/dev/fd/4 status=none <<< X; exec 4>&-; stat -c %s sparse
# many at once
for ((i = 0; i < 300; i++)); do exec {fds[i]}> "m$i"; done; for ((i = 0; i < 300; i++)); do say $i >&${fds[i]}; done; for ((i = 0; i < 300; i++)); do exec {fds[i]}>&-; done; cat m{0..299} | sort -n | sha256sum; rm m{0..299}
ulimit -n 64; for ((i = 0; i < 80; i++)); do exec {e[i]}< f || break; done 2> /dev/null; [ $i -lt 64 ] && say 'table full'
for x in "${e[@]}"; do exec {x}<&-; done 2> /dev/null
umask 077; say x > private; stat -c %a private; umask 000; say x > public; stat -c %a public; LC_ALL=C ls -1
