# git over a history with many kinds of files: every command's answer, and every object's name, must be the same in each directory. Runs in the working directory, which is empty.
set -e
exec 2>&1
export HOME=$PWD GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@example.org GIT_COMMITTER_NAME=c GIT_COMMITTER_EMAIL=c@example.org GIT_AUTHOR_DATE='1700000000 +0000' GIT_COMMITTER_DATE='1700000000 +0000' TZ=UTC LC_ALL=C
git config --global init.defaultBranch main; git config --global gc.auto 0; git config --global advice.detachedHead false; git config --global protocol.file.allow always; git config --global core.fsync "${FSYNC:-reference}"
COMMITS=${COMMITS:-25}
git init -q r; cd r
mkdir -p src/deep/er bin; for i in $(seq 60); do seq $i $((i * 20)) > src/f$i; done; seq 100 > src/deep/er/file; ln -s ../src/f1 bin/link; printf '#!/bin/sh\n' > bin/tool; chmod +x bin/tool; printf 'bin\0ary' > blob; : > empty; printf 'a b' > 'odd "name'
git add .; git commit -qm start; for i in $(seq $COMMITS); do echo "$i" >> src/f$((i % 60 + 1)); echo $i > src/new$i; git add -A; git commit -qm "commit $i"; done
git log --oneline | sha256sum; git ls-files -s | sha256sum
git checkout -qb side HEAD~10; sed -i 1s/^/side/ src/f3; git mv src/f5 src/moved; git rm -q src/f7; git commit -qam side; git merge -q -m merge main; git log --graph --oneline | wc -l; git rebase -q --onto main HEAD~1 2>&1 | tail -1; git checkout -q main; git merge -q side || true
echo dirty >> src/f1; echo untracked > u; git stash -qu; git status --porcelain; git stash pop -q; git status --porcelain; git diff --stat; git checkout -q .; git clean -qfd
git tag -am v1 v1; git branch -d side -q 2>&1 | tail -1; git blame src/f1 | wc -l; git grep -c 1 -- src/f1; git bisect start HEAD HEAD~6 > /dev/null; git bisect run test ! -e src/new$((COMMITS - 2)) > /dev/null 2>&1; git bisect log | grep -c bad; git bisect reset > /dev/null 2>&1
git worktree add -q ../w HEAD~3; (cd ../w; echo w > w; git add w; git commit -qm w; git rev-parse HEAD); git worktree list | wc -l; git worktree remove ../w
git count-objects | cut -d' ' -f1; git fsck --full --strict; git repack -qadf --depth=20; git prune; git gc -q --aggressive --prune=now; git fsck --full --strict; git verify-pack -s .git/objects/pack/*.idx | head -3; git commit-graph write --reachable 2> /dev/null; git commit-graph verify; git multi-pack-index write; git multi-pack-index verify; git count-objects -v | grep -v size
cd ..; git clone -q r local; git clone -q --no-hardlinks r copied; git clone -q file://$PWD/r wire; git clone -q --depth 3 file://$PWD/r shallow; git clone -q --bare r bare.git; git clone -q --mirror r mirror.git; git clone -q --shared r shared
for c in local copied wire shallow bare.git mirror.git shared; do (cd $c; git fsck --full --strict; git rev-parse HEAD; git status --porcelain 2> /dev/null || true); done
(cd wire; echo pushed > p; git add p; git commit -qm pushed; git push -q ../bare.git main; git -C ../bare.git rev-parse main; cd ../local; git pull -q ../bare.git main; git rev-parse HEAD; git fsck)
(cd bare.git; git gc -q; git fsck --full; git archive main | tar tf - | sort | sha256sum; git bundle create -q ../b.bundle --all; git bundle verify -q ../b.bundle); git clone -q b.bundle unbundled; git -C unbundled fsck; git -C unbundled checkout -q main 2> /dev/null; git -C unbundled rev-parse HEAD
git init -q super; (cd super; git submodule add -q ../bare.git sub; git commit -qm sub; git submodule update -q --init; git submodule status | cut -c1-50; git fsck); (cd r; git fast-export --all | sha256sum; git fast-export --all > ../fe; git init -q ../imported; git -C ../imported fast-import --quiet < ../fe; git -C ../imported fsck; git -C ../imported log --oneline main | sha256sum)
# two at once: locks hold
(cd local; for i in 1 2 3 4 5 6; do (for j in 1 2 3 4 5; do until git update-ref refs/heads/par-$i-$j HEAD 2> /dev/null; do :; done; git update-ref -d refs/heads/par-$i-$j; git update-ref refs/heads/par-$i HEAD; done) & done; wait; git for-each-ref | grep -c par; git pack-refs --all; git fsck; git for-each-ref | wc -l)
find . -name '*.lock' -o -name 'tmp_*' | sort
