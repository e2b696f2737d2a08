# Scripts that lie on the mount and abuse descriptors as configure scripts do: run by path, by the interpreter, from standard input; standard streams closed; 255, 10 and up hard-coded.
cd $1 || exit 1
exec 2>&1
printf '#!/bin/bash\necho "script $0 $*"; head -1 "$0"; read l < "$0"; echo "$l"; exit 3\n' > run.sh; chmod +x run.sh
./run.sh a b | sed "s,$1,,"; ./run.sh > out; echo $?; cat out; bash run.sh c; bash < run.sh | head -2; sh -c ./run.sh; . ./run.sh 2> /dev/null | tail -1
printf '#!/usr/bin/env python3\nimport sys; print(open(sys.argv[0]).readline().strip(), sys.argv[1:])\n' > run.py; chmod +x run.py; ./run.py x
printf '#!%s/run.sh\n' "$1" > nested; chmod +x nested; ./nested deep | sed "s,$1,,"
cp /bin/true mytrue; ./mytrue && echo ran; cp /bin/cat mycat; echo through | ./mycat; chmod -x mytrue; ./mytrue || echo $?
echo data > f
(exec 0<&-; cat; echo $?); (exec 0<&-; cat f); (exec 1>&-; echo lost; cat f; echo $? >&2); (exec 2>&-; cat f; ls missing); (exec 0<&- 1>&- 2>&-; cat f > g; echo $? > h); cat g h
exec 5>&1 6>> log 7< f 8<> f 255> high
echo five >&5; echo six >&6; read l <&7; echo "seven $l"; echo eight >&8; echo high >&255; (echo child >&6; exec 6>&-; echo gone >&6) 2> /dev/null; cat <&7; cat log high
exec 10>&1 11> eleven; (exec 11>&10; echo to ten >&11); echo to eleven >&11; exec 5>&- 6>&- 7<&- 8>&- 10>&- 11>&- 255>&-; cat eleven f
for n in $(seq 3 60); do eval "exec $n>> many"; done; for n in 3 17 42 60; do echo $n >&$n; done; for n in $(seq 3 60); do eval "exec $n>&-"; done; cat many
{ echo a; { echo b >&3; } 3>&1 >&2 2> b.err; echo c; } > abc 3> three; cat abc three b.err
while read -r line; do echo "<$line>"; read -r inner <&9; echo "[$inner]"; done < many 9< log
cat > conf.sh <<'X'
exec 6>&1 5>> config.log; exec 7<&0 </dev/null; echo "log $$" | sed 's/[0-9]*$//' >&5; echo checking >&6; (eval "echo compile >&5") 2>&5; exec 1>&6; echo done; test -t 1 || echo no terminal
X
bash conf.sh; cat config.log; sh conf.sh; dash -c '. ./conf.sh' < /dev/null
mkfifo p; (cat f > p; echo x > p2) & cat < p; wait; cat p2; (sleep 0; echo from background >> bg) & wait; cat bg
tee >(cat > sub) < f > /dev/null; sleep 0.1; cat sub; diff <(cat f) <(sed s/e/e/ f) && echo same; coproc cat; echo co >&${COPROC[1]}; read l <&${COPROC[0]}; echo $l
trap 'echo trapped > t' EXIT; (exit 0); echo end > e; rm -f run.* nested my* p
