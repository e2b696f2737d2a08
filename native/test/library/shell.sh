cd $1 || exit 1
echo hi > a; cat a; cat < a; (echo a; echo b) > f; cat f
mkdir -p d/e; echo x > d/e/x; ls -R; cat d/e/../e/x
exec 3<>f; read l <&3; echo "got $l"; echo zz >&3; exec 3>&-; cat f
cat <<X > h
here
X
cat h; echo more >> h; cat h; wc -c < h
seq 1 20000 > big; sort -rn big | head -3; sed -n 5p big; sed -i s/^7$/seven/ big; sed -n 7p big; cp big big2; cmp big big2; mv big2 big3; ln -s big3 l; ln big3 l2; stat -c '%s %h' l2; readlink l; wc -l l
tar cf t.tar d big3; mkdir x; tar xf t.tar -C x; diff -r d x/d; cmp big3 x/big3; find . -name 'x*' | sort; du -s d >/dev/null; grep -c 1 big; head -c 100 big | md5sum; tail -n 2 big; truncate -s 10 big; cat big; chmod 600 big; stat -c %a big; touch -d 2020-01-01 big; stat -c %Y big; rm -r d x; ls; dd if=/dev/zero of=z bs=64k count=40 2>/dev/null; md5sum z; rm *; ls -a
python3 - <<'P'
import os,subprocess,tempfile,shutil
open("q","w").write("abc\n"*1000); print(len(open("q").read()))
with open("q","r+") as f: f.seek(4); f.write("XYZ"); f.flush(); print(os.path.getsize("q"))
print(subprocess.run(["cat","q"],capture_output=True).stdout[:12])
f=open("q"); f.readline(); 
pid=os.fork()
if pid==0:
    os.lseek(f.fileno(),100,0); os._exit(0)
os.waitpid(pid,0); print(os.lseek(f.fileno(),0,1))
d=tempfile.mkdtemp(dir="."); t=tempfile.NamedTemporaryFile(dir=d); t.write(b"1"); t.flush(); print(os.listdir(d)==[os.path.basename(t.name)]); t.close(); shutil.rmtree(d)
os.mkdir("dd"); fd=os.open("dd",os.O_RDONLY); os.close(os.open("n",os.O_CREAT|os.O_RDWR,dir_fd=fd)); print(os.listdir(fd)); os.fchdir(fd); print(os.listdir(".")); os.chdir(".."); os.unlink("n",dir_fd=fd); os.close(fd); os.rmdir("dd")
P
rm q; ls -a
