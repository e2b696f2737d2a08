cd $1
ls -lad .. | awk '{print $1}'; ls / | head -1
sqlite3 q.db "create table t(a,b); begin; $(for i in $(seq 1 200); do echo "insert into t values($i,'x$i');"; done) commit; select count(*),sum(a) from t; pragma integrity_check; pragma journal_mode=wal; insert into t values(1,2); select count(*) from t;"
sqlite3 q.db "pragma integrity_check; select count(*) from t"
git init -q r 2>/dev/null && cd r && git config user.email a@b && git config user.name n && echo 1 > a && git add a && git commit -qm one && echo 2 >> a && git commit -qam two && git log --oneline | wc -l && git fsck && git gc -q && git clone -q . ../r2 && ls ../r2 && git status --short && cd ..
cat > m.c <<X
#include <stdio.h>
int main(){printf("compiled\n");return 0;}
X
gcc -o m m.c && ./m
perl -e 'open(F,">","pf"); print F "x\n"x3; close F; open(F,"<","pf"); print while <F>; print -s "pf","\n"; rename "pf","pg"; opendir(D,"."); print join(",",sort readdir D),"\n"; unlink "pg"'
printf 'a\nb\nc\n' > l; while read x; do echo "[$x]"; done < l; mapfile -t arr < l; echo ${#arr[@]}
{ echo one; echo two >&2; } > o 2> e; cat o e; tee t1 < l > t2; cmp t1 t2 && echo teeok; awk '{print NR}' l > n; paste l n; split -l 1 l part; ls part*; sort -u l n | tac; xargs -n1 echo < l; find . -maxdepth 1 -name 'part*' -delete; ls; gzip -k l; zcat l.gz; tar czf z.tgz r; tar tzf z.tgz | wc -l > /dev/null; rsync -a r/ rr/ 2>/dev/null && diff -r r rr && echo rs
ln -s /etc/passwd pw; head -c 4 pw; ln -s $1/l abs; cat abs; ln -s loop loop; cat loop; ln -s ../../etc/group up; head -c 4 up; ls -L pw >/dev/null && echo ok
mkfifo ff; (echo fifo > ff &) ; cat ff; install -m 755 l l.inst; stat -c '%a %s' l.inst; chmod +x l.inst; cp -a r r3; du -sb r3 | wc -l; mv r3 r4; rm -rf r r2 rr r4
python3 -c "
import sqlite3,json,pickle,shelve,zipfile,os,glob,pathlib,shutil
z=zipfile.ZipFile('z.zip','w'); z.writestr('a','b'*1000); z.close(); print(zipfile.ZipFile('z.zip').read('a')[:3])
s=shelve.open('sh'); s['a']=1; s.close(); print(shelve.open('sh')['a'])
print(sorted(glob.glob('*.z*'))); print(sorted(p.name for p in pathlib.Path('.').rglob('z*')))
os.makedirs('t/u/v'); shutil.copytree('t','t2d'); shutil.rmtree('t'); print(os.path.exists('t2d/u/v'), os.path.realpath('abs').endswith('/l'))
f=os.open('sf',os.O_RDWR|os.O_CREAT); os.write(f,b'0123456789'); i=os.open('sf',os.O_RDONLY); o=os.open('sg',os.O_RDWR|os.O_CREAT); print(os.sendfile(o,i,0,5), os.lseek(o,0,1)); os.lseek(i,3,0); print(os.sendfile(o,i,None,4),os.lseek(i,0,1)); print(os.pread(o,20,0))
import fcntl; fcntl.flock(f,fcntl.LOCK_EX); fcntl.lockf(f,fcntl.LOCK_EX); print(os.copy_file_range(f,o,4,0,0)); print(os.pread(o,4,0)); os.set_inheritable(f,True); os.lseek(f,2,0)
import subprocess; print(subprocess.run(['sh','-c','head -c 3 <&%d'%f],pass_fds=[f],capture_output=True).stdout, os.lseek(f,0,1))
import select; print(select.select([f],[],[],0)[0]==[f]); p=select.poll(); p.register(i); print(p.poll(0)[0][1]&1)
import socket,array; a,b=socket.socketpair(socket.AF_UNIX); socket.send_fds(a,[b'x'],[i]); _,fds,_,_=socket.recv_fds(b,10,1); os.lseek(i,5,0); print(os.read(fds[0],2), os.lseek(i,0,1))
print(os.getxattr('sf','user.a') if not os.setxattr('sf','user.a',b'1') else 0, os.listxattr('sf'), os.statvfs('sf').f_namemax, os.access('sf',os.W_OK))
"
rm -rf *; ls -a
