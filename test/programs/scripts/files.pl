# Perl's own file operators, one check after the other; what it prints must be the same in every directory. Runs in the working directory, which is empty.
use strict; use utf8;
use Fcntl qw(:DEFAULT :flock :seek :mode); use File::Copy; use File::Find; use File::Path qw(make_path remove_tree); use File::Temp qw(tempfile tempdir);
use File::stat (); use IO::Handle; use IO::Seekable; use POSIX (); use Cwd qw(getcwd realpath); use Errno; use DB_File; use IO::File; use File::Spec; use Storable ();
my $n = 0;
sub show { my ($name, @values) = @_; $n++; print "$n $name: ", join(' ', map { defined $_ ? $_ : 'undef' } @values), "\n"; }
sub try { my ($name, $done) = @_; my $error = $! + 0; show($name, $done ? 'yes' : "no, errno $error"); }
sub spew { my ($name, $text) = @_; open(my $f, '>:raw', $name) or die "$name: $!"; print $f $text; close $f or die; }
sub slurp { my ($name) = @_; open(my $f, '<:raw', $name) or return "($!)"; local $/; my $text = <$f>; return $text // ''; }
umask 022;

# open in each mode, with layers, by descriptor, in memory, to and from commands
for my $mode ('<', '>', '>>', '+<', '+>', '+>>') {
    spew('mode', "12345\n"); my $ok = open(my $f, $mode, 'mode'); my $read = <$f>; my $wrote = print $f 'ab'; close $f; show("open $mode", $ok, $read, $wrote ? 1 : 0, slurp('mode'));
    unlink 'none'; $ok = open($f, $mode, 'none'); show("open $mode of nothing", $ok ? 1 : 0, $ok ? 0 : $! + 0, -e 'none' ? 1 : 0); close $f if $ok;
}
{ open(my $f, '>:encoding(UTF-16LE)', 'utf'); print $f "grüße\n"; close $f; show('encoding', unpack('H*', slurp('utf'))); open($f, '<:encoding(UTF-16LE)', 'utf'); show('decoded', length <$f>); }
{ open(my $f, '>:crlf', 'crlf'); print $f "a\nb\n"; close $f; show('crlf', unpack('H*', slurp('crlf'))); }
{ open(my $a, '>', 'dup'); open(my $b, '>&', $a); open(my $c, '>&=', fileno $a); print $a "a\n"; $a->flush; print $b "b\n"; $b->flush; print $c "c\n"; close $c; close $b; close $a; show('dup', slurp('dup')); }
{ open(my $p, '|-', 'cat > piped; echo more >> piped'); print $p "in\n"; close $p; open($p, '-|', 'cat', 'piped'); my @l = <$p>; close $p; show('pipes', map { chomp; $_ } @l); }
{ open(my $f, '+>', undef); print $f "anonymous"; seek $f, 2, 0; read $f, my $b, 3; show('open undef', $b); }
{ local @ARGV = ('i1', 'i2'); spew($_, "one two\nthree\n") for @ARGV; local $^I = '.bak'; while (<>) { s/o/0/g; print; print "$.\n" if eof; } show('in place', map { slurp($_) } qw(i1 i2 i1.bak)); }
{ local @ARGV = ('i1'); local $^I = ''; while (<>) { print uc } show('in place, no copy', slurp('i1')); }
{ sysopen(my $f, 'sys', O_RDWR | O_CREAT | O_EXCL, 0640); syswrite $f, 'abcdefgh', 5, 2; sysseek $f, 1, SEEK_SET; sysread $f, my $b, 3; sysread $f, $b, 9, 5; show('sys', sprintf('%o', (stat $f)[2] & 07777), $b =~ s/\0/./gr, sysseek($f, 0, SEEK_CUR)); try('excl', sysopen(my $g, 'sys', O_CREAT | O_EXCL)); }
{ open(my $f, '+>', 'seek'); print $f "line $_\n" for 1 .. 2000; seek $f, -10, SEEK_END; my @l = <$f>; show('seek', tell $f, scalar @l, eof $f ? 1 : 0); seek $f, 700, 0; <$f>; show('tell', tell $f, $.); truncate $f, 100; seek $f, 0, SEEK_END; show('truncate', tell $f, -s $f); print $f 'end'; $f->sync; show('sync', -s 'seek'); }
{ open(my $f, '<', 'seek'); local $/ = \17; my @r = <$f>; show('records', scalar @r, length $r[-1]); seek $f, 0, 0; local $/ = ''; @r = <$f>; show('paragraphs', scalar @r); seek $f, 3, 0; my $c = getc $f; $f->ungetc(65); show('getc ungetc', $c, getc $f, getc $f); }
{ open(my $a, '>>', 'app'); open(my $b, '>>', 'app'); for (1 .. 5) { syswrite $a, "a$_ "; syswrite $b, "b$_ "; } show('append', slurp('app')); truncate 'app', 4; syswrite $a, 'z'; show('append behind a truncation', slurp('app')); }
{ spew('nul', join '', map { chr($_ % 256) } 0 .. 70000); open(my $f, '<:raw', 'nul'); my ($sum, $b) = (0); $sum += unpack('%32C*', $b) while read $f, $b, 4097; show('binary', $sum); }

# file tests
spew('plain', 'x'); mkdir 'dir', 0750; symlink 'plain', 'sl'; symlink 'gone', 'dangling'; POSIX::mkfifo('fifo', 0600); link 'plain', 'hard'; spew('empty', ''); spew('text', "words here\n"); chmod 04755, 'hard'; chmod 01777, 'dir';
my %tests = (r => sub { -r $_[0] }, w => sub { -w $_[0] }, x => sub { -x $_[0] }, o => sub { -o $_[0] }, e => sub { -e $_[0] }, z => sub { -z $_[0] }, s => sub { -s $_[0] }, f => sub { -f $_[0] }, d => sub { -d $_[0] }, l => sub { -l $_[0] },
    p => sub { -p $_[0] }, S => sub { -S $_[0] }, b => sub { -b $_[0] }, c => sub { -c $_[0] }, u => sub { -u $_[0] }, g => sub { -g $_[0] }, k => sub { -k $_[0] }, T => sub { -T $_[0] }, B => sub { -B $_[0] }, R => sub { -R $_[0] }, W => sub { -W $_[0] }, X => sub { -X $_[0] }, O => sub { -O $_[0] });
for my $file (qw(plain sl dangling fifo hard empty text nul none)) { show("-X $file", map { my $v = $tests{$_}->($file); defined $v && $v ne '' ? "$_=$v" : () } grep { $file ne 'fifo' || !/[TB]/ } sort keys %tests); }
show('-X dir', map { $tests{$_}->('dir') ? $_ : () } grep { $_ ne 's' } sort keys %tests);
show('stacked', -f -r -w 'plain' ? 1 : 0, -e _ ? 1 : 0); utime 1000, 2000, 'plain'; show('times', (stat 'plain')[8, 9], sprintf('%.1f', -M 'plain') > 1000 ? 'old' : 'new', (lstat 'sl')[7], (stat 'sl')[3]);
{ open(my $f, '<', 'plain'); utime 5, 6, $f; chmod 0600, $f; chown -1, 1, $f; my $s = File::stat::stat($f); show('by handle', $s->atime, $s->mtime, sprintf('%o', $s->mode), $s->gid, $s->nlink); opendir(my $d, 'dir'); show('handle of a directory', -d $d ? 1 : 0, (stat $d)[2]); chdir $d; show('chdir by handle', getcwd =~ m{/dir$} ? 1 : 0); chdir '..'; }

# names
try('rename', rename('text', 'dir/moved')); try('rename onto', rename('dir/moved', 'empty')); try('rename none', rename('none', 'y')); try('rename dir onto file', rename('dir', 'empty')); try('rename file onto dir', rename('empty', 'dir'));
try('link none', link('none', 'l')); try('link dir', link('dir', 'l')); try('link onto', link('plain', 'hard')); show('unlink', unlink('none', 'hard', 'dangling')); try('unlink dir', unlink 'dir'); try('mkdir twice', mkdir 'dir'); try('rmdir file', rmdir 'plain');
spew('dir/in', ''); try('rmdir full', rmdir 'dir'); try('readlink file', defined readlink 'plain'); show('readlink', readlink 'sl'); try('long', open(my $long, '>', 'l' x 256)); try('long enough', open($long, '>', 'l' x 255)); unlink 'l' x 255; try('below a file', open($long, '<', 'plain/x')); try('slash', open($long, '<', 'plain/')); try('write a directory', open($long, '>', 'dir'));
{ open(my $f, '+>', 'unlinked'); print $f "still here"; unlink 'unlinked'; seek $f, 0, 0; show('unlinked', <$f>, (stat $f)[3]); }
for my $name ("sp ace", "n\nl", "grüße", "\x{fffd}", '-dash', '*') { utf8::encode(my $b = $name); spew($b, $b); } opendir(my $d, '.'); show('odd names', map { unpack('H*', $_) } sort grep { /[^a-z0-9.]/ } readdir $d); closedir $d; unlink glob('{sp*,n?l,gr*,-dash,\*}'); unlink "\xef\xbf\xbd";

# directories
mkdir 'many'; spew("many/$_", $_) for 1 .. 700; opendir($d, 'many'); my @first = map { scalar readdir $d } 1 .. 300; my $at = telldir $d; my @rest = readdir $d; seekdir $d, $at; my @again = readdir $d; rewinddir $d; my @all = readdir $d; closedir $d;
show('readdir', scalar(@first) + @rest, "@rest" eq "@again" ? 'same' : 'other', scalar @all, join(',', (sort { $a <=> $b } grep { /\d/ } @all)[0, 699]));
opendir($d, 'many'); my $gone = 0; while (defined(my $e = readdir $d)) { $gone += unlink "many/$e" if $e =~ /^\d+$/; } show('unlink while reading', $gone); try('rmdir', rmdir 'many'); try('opendir none', opendir($d, 'none')); try('opendir file', opendir($d, 'plain'));
show('glob', join ',', glob('{pl,em}* d*/* no*'), glob('[s]?')); make_path('t/a/b/c', 't/d', { mode => 0711 }); spew("t/$_", $_) for qw(a/1 a/b/2 d/3); symlink '../a', 't/d/up'; my @found; find({ wanted => sub { push @found, $File::Find::name }, no_chdir => 1 }, 't'); show('find', sort @found); @found = (); finddepth(sub { push @found, $_ if -f }, 't'); show('finddepth', sort @found);
@found = (); find({ wanted => sub { push @found, $File::Find::name }, follow => 1 }, 't/d'); show('find follow', sort @found); copy('t/a/1', 't/copied'); move('t/copied', 't/moved'); show('copy, move', slurp('t/moved'), -e 't/copied' ? 1 : 0); show('realpath', realpath('t/d/up/b') =~ m{/t/a/b$} ? 1 : 0); show('remove_tree', remove_tree('t'), -e 't' ? 1 : 0);
{ my ($f, $name) = tempfile('tmpXXXXXX', DIR => '.', UNLINK => 1); print $f 'x'; close $f; my $dir = tempdir('dXXXXX', DIR => '.', CLEANUP => 1); show('temp', -s $name, -d $dir ? 1 : 0, sprintf('%o', (stat $dir)[2])); rmdir $dir; unlink $name; }

# locks, between processes too
sub child { my ($code) = @_; pipe(my $r, my $w); my $pid = fork; if (!$pid) { close $r; print $w $code->(); close $w; POSIX::_exit(0); } close $w; my $answer = do { local $/; <$r> }; waitpid $pid, 0; return $answer; }
{ open(my $f, '+>', 'lock'); flock $f, LOCK_EX; show('flock', child(sub { open(my $g, '<', 'lock'); flock($g, LOCK_SH | LOCK_NB) ? 'free' : $!{EWOULDBLOCK} ? 'taken' : "$!" })); flock $f, LOCK_SH; show('flock shared', child(sub { open(my $g, '<', 'lock'); flock($g, LOCK_SH | LOCK_NB) ? 'free' : 'taken' })); flock $f, LOCK_UN;
  my $lock = pack('s s x![q] q q i x![q]', F_WRLCK, SEEK_SET, 10, 5, 0); fcntl($f, F_SETLK, $lock); for my $start (0, 12, 15) { show("fcntl at $start", child(sub { open(my $g, '+<', 'lock'); fcntl($g, F_SETLK, pack('s s x![q] q q i x![q]', F_WRLCK, SEEK_SET, $start, 3, 0)) ? 'free' : 'taken' })); }
  open(my $h, '<', 'lock'); close $h; show('fcntl after another close', child(sub { open(my $g, '+<', 'lock'); fcntl($g, F_SETLK, pack('s s x![q] q q i x![q]', F_WRLCK, SEEK_SET, 10, 3, 0)) ? 'free' : 'taken' })); }
{ open(my $f, '+>', 'share'); $f->autoflush; print $f "parent\n"; if (!(my $pid = fork)) { print $f "child\n"; close $f; POSIX::_exit(0); } else { waitpid $pid, 0; } print $f "parent again\n"; seek $f, 0, 0; my @l = <$f>; chomp @l; show('shared offset', @l); seek $f, 7, 0; sysseek $f, 7, 0; open(STDIN, '<&', $f); show('child reads', `cat`); }
{ $^F = 99; open(my $f, '>', 'inherit'); system('echo inherited >&' . fileno $f); $^F = 2; open(my $g, '>', 'cloexec'); system('(echo x >&' . fileno($g) . ') 2>/dev/null'); close $f; close $g; show('exec', slurp('inherit'), -s 'cloexec' || 0); }
{ open(my $f, '>', 'many-writers'); close $f; my @pids = map { my $i = $_; my $pid = fork; if (!$pid) { open(my $g, '>>', 'many-writers'); syswrite $g, "$i" x 30 . "\n" for 1 .. 100; POSIX::_exit(0); } $pid } 1 .. 4; waitpid $_, 0 for @pids; my %lines; $lines{$_}++ for split /\n/, slurp('many-writers'); show('appending processes', map { substr($_, 0, 1) . length($_) . "=$lines{$_}" } sort keys %lines); }

# what stands on files
{ tie my %db, 'DB_File', 'h.db', O_RDWR | O_CREAT, 0644, $DB_HASH; $db{"k$_"} = "v$_" x 10 for 1 .. 2000; delete $db{"k$_"} for 1 .. 500; untie %db; tie %db, 'DB_File', 'h.db', O_RDONLY, 0644, $DB_HASH; show('DB_File hash', scalar(keys %db), $db{k777}); untie %db; }
{ tie my %db, 'DB_File', 'b.db', O_RDWR | O_CREAT, 0644, $DB_BTREE; $db{sprintf 'k%05d', $_} = $_ for reverse 1 .. 3000; show('DB_File tree', (sort { $a cmp $b } keys %db)[0, -1], scalar(keys %db)); untie %db; }
{ tie my @lines, 'DB_File', 'crlf', O_RDWR, 0644, $DB_RECNO; push @lines, 'pushed'; splice @lines, 0, 1; show('DB_File lines', scalar @lines, $lines[-1]); untie @lines; show('written', unpack 'H*', slurp('crlf')); }
{ Storable::nstore({ list => [1 .. 100], text => 'x' x 5000 }, 'stored'); my $back = Storable::retrieve('stored'); show('Storable', scalar @{ $back->{list} }, length $back->{text}); Storable::lock_nstore([1], 'stored'); show('locked', @{ Storable::lock_retrieve('stored') }); }
show('POSIX', POSIX::access('plain', POSIX::R_OK()) ? 1 : 0, POSIX::pathconf('.', POSIX::_PC_NAME_MAX()), (POSIX::fpathconf(0, POSIX::_PC_PATH_MAX()) // 'undef'), -d POSIX::getcwd() ? 1 : 0);
{ my $fd = POSIX::open('posix', O_RDWR | O_CREAT, 0644); POSIX::write($fd, 'hello', 5); my $two = POSIX::dup($fd); POSIX::lseek($two, 1, SEEK_SET); POSIX::read($fd, my $b, 2); my $ten = POSIX::dup2($fd, 40); POSIX::close($fd); POSIX::read(40, my $c, 9); show('POSIX descriptors', $b, $c, $ten); POSIX::close(40); POSIX::close($two); try('closed', POSIX::close(40)); }
{ my $f = IO::File->new_tmpfile; print $f 'tmp'; $f->flush; show('new_tmpfile', -s $f); open(my $null, '>', File::Spec->devnull); show('devnull', -c $null ? 1 : 0); }
do './required.pl' if spew('required.pl', 'show("do FILE", __LINE__, __FILE__); 1;'); spew('Mod.pm', "package Mod; sub x { (caller(0))[3] } 1;\n__DATA__\nd\n"); unshift @INC, getcwd; require Mod; show('require', Mod::x(), scalar <Mod::DATA>); 
opendir($d, '.'); show('left', sort grep { !/^\./ } readdir $d);
