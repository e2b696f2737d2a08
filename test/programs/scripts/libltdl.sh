# libltdl, from Debian's package of it: configure, make, install, and a program with a module that uses it. Says the same in each directory. Runs in the working directory, which is empty.
# The generated files are taken as they are, whatever their times: half of what they come from is not in the package.
exec 2>&1
cp -a /usr/share/libtool src && cp -rL /usr/share/libtool/build-aux . && cd src || exit
./configure --quiet --disable-static --enable-ltdl-install ACLOCAL=: AUTOCONF=: AUTOHEADER=: AUTOMAKE=: CFLAGS="-O1 -g -ffile-prefix-map=$PWD=."; echo "configure $?"
make -j2 -s > log; echo "make $?"
make -s install DESTDIR="$PWD/to" > /dev/null 2>&1; echo "install $?"
echo 'int answer(void) { return 42; }' > module.c
cat > use.c <<'END'
#include <ltdl.h>
#include <stdio.h>

static int show(const char *name, void *none) {
	(void)none;
	puts(name);
	return 0;
}

int main(void) {
	lt_dlinit();
	lt_dlhandle module = lt_dlopenext("./module");
	int (*answer)(void) = module ? (int (*)(void))lt_dlsym(module, "answer") : NULL;
	printf("answer %d\n", answer ? answer() : 0);
	return lt_dlforeachfile(".", show, NULL) || lt_dlclose(module) || lt_dlexit();
}
END
lt() { ./libtool --quiet --tag=CC --mode="$@"; }
lt compile gcc -c module.c && lt link gcc -module -avoid-version -rpath "$PWD/to" -o module.la module.lo && lt link gcc -I. use.c -o use libltdl.la && ./use; echo "use $?"
objcopy --remove-section .note.gnu.build-id .libs/libltdl.so.7 && sha256sum < .libs/libltdl.so.7
find . -name '*.l[ao]' -type f | LC_ALL=C sort; find to | LC_ALL=C sort
make -s distclean > /dev/null; find . -newer use.c | LC_ALL=C sort
