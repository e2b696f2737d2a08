// A Node program: promises, streams, callbacks, synchronous calls, watching by polling, directories, locks between worker threads. What it prints must be the same in each directory.
import { execFileSync } from 'node:child_process';
import crypto from 'node:crypto';
import fs from 'node:fs';
import fsp from 'node:fs/promises';
import path from 'node:path';
import readline from 'node:readline';
import { pipeline } from 'node:stream/promises';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import zlib from 'node:zlib';

const show = (name, ...values) =>
  process.stdout.write(
    `${[name, ...values.map((value) => (typeof value === 'string' ? value : JSON.stringify(value)))].join(' ')}\n`,
  );
const failure = async (name, promise) =>
  show(
    name,
    await promise.then(
      () => 'done',
      (error) => `${error.code} ${error.syscall}`,
    ),
  );
const digest = (data) => crypto.createHash('sha1').update(data).digest('hex');

async function worker({ index, directory }) {
  const own = path.join(directory, `w${index}`);
  await fsp.mkdir(own);
  for (let i = 0; i < 40; i++) {
    await fsp.writeFile(`${own}/${i}`, `${index}-${i}`.repeat(200));
    fs.appendFileSync(path.join(directory, 'shared'), `${index}:${i}\n`);
    if (i % 3 === 0) fs.renameSync(`${own}/${i}`, `${own}/r${i}`);
    if (i % 5 === 1 && i % 3 !== 0) await fsp.rm(`${own}/${i}`);
  }
  parentPort.postMessage(
    digest(
      (await fsp.readdir(own))
        .sort()
        .map((name) => name + fs.readFileSync(`${own}/${name}`))
        .join(),
    ),
  );
}

async function main() {
  const data = Buffer.alloc(3_000_000, 'some text that repeats, ');
  await fsp.writeFile('big', data);
  show('big', digest(await fsp.readFile('big')), (await fsp.stat('big')).size);
  await pipeline(
    fs.createReadStream('big', { highWaterMark: 40_000 }),
    zlib.createGzip(),
    fs.createWriteStream('big.gz'),
  );
  await pipeline(fs.createReadStream('big.gz'), zlib.createGunzip(), fs.createWriteStream('big2', { flags: 'wx' }));
  show('streams', digest(fs.readFileSync('big2')), fs.statSync('big.gz').size < 100_000);
  const part = [];
  for await (const piece of fs.createReadStream('big', { start: 1000, end: 70_999 })) part.push(piece);
  show('part', digest(Buffer.concat(part)) === digest(data.subarray(1000, 71_000)));
  await fsp.writeFile('lines', Array.from({ length: 500 }, (_, i) => `line ${i}`).join('\n'));
  let lines = 0;
  for await (const line of readline.createInterface({ input: fs.createReadStream('lines') })) lines += line.length;
  show('lines', lines);
  const file = await fsp.open('handle', 'w+');
  await file.write('0123456789');
  await file.write(Buffer.from('AB'), 0, 2, 3);
  await file.appendFile('end');
  await file.truncate(12);
  await file.datasync();
  await file.sync();
  await file.chmod(0o600);
  await file.utimes(10, 20);
  const { buffers, bytesRead } = await file.readv([Buffer.alloc(4), Buffer.alloc(20)], 0);
  show(
    'handle',
    bytesRead,
    buffers.map(String),
    (await file.stat()).mtimeMs,
    ((await file.stat()).mode & 0o777).toString(8),
  );
  await file.writev([Buffer.from('x'), Buffer.from('yz')], 1);
  await file.close();
  show('writev', fs.readFileSync('handle', 'latin1'));
  for (const flag of ['r', 'r+', 'w', 'wx', 'a', 'ax', 'a+', 'as', 'rs+']) {
    fs.writeFileSync('flag', 'old');
    try {
      const fd = fs.openSync('flag', flag);
      let wrote = 0;
      try {
        wrote = fs.writeSync(fd, 'new');
      } catch (error) {
        wrote = error.code;
      }
      fs.closeSync(fd);
      show(`flag ${flag}`, wrote, fs.readFileSync('flag', 'utf8'));
    } catch (error) {
      show(`flag ${flag}`, error.code);
    }
  }
  await failure('missing', fsp.readFile('none'));
  await failure('directory', fsp.readFile('.'));
  await failure('exists', fsp.mkdir('.'));
  await failure('unlink directory', fsp.unlink('.'));
  await failure('rmdir file', fsp.rmdir('big'));
  await failure('below a file', fsp.stat('big/x'));
  await failure('long', fsp.writeFile('l'.repeat(256), ''));
  await failure('access', fsp.access('big', fs.constants.X_OK));
  await failure('no copy onto', fsp.copyFile('big', 'lines', fs.constants.COPYFILE_EXCL));
  await fsp.mkdir('tree/a/b/c', { recursive: true });
  await fsp.writeFile('tree/a/1', '1');
  await fsp.link('tree/a/1', 'tree/a/b/2');
  // Before there is a cycle: how far node follows one has differed between two runs on ext4.
  show('readdir', (await fsp.readdir('tree', { recursive: true })).sort());
  await fsp.symlink('../a', 'tree/a/up');
  show(
    'nlink',
    fs.statSync('tree/a/1').nlink,
    fs.lstatSync('tree/a/up').isSymbolicLink(),
    fs.readlinkSync('tree/a/up'),
    path.relative(process.cwd(), await fsp.realpath('tree/a/up/b')),
  );
  show(
    'types',
    (await fsp.readdir('tree/a', { withFileTypes: true }))
      .map((entry) => `${entry.name}${entry.isDirectory() ? '/' : ''}${entry.isSymbolicLink() ? '@' : ''}`)
      .sort(),
  );
  const names = [];
  for await (const entry of await fsp.opendir('tree/a', { bufferSize: 1 })) names.push(entry.name);
  show('opendir', names.sort());
  await fsp.cp('tree', 'copy', { recursive: true, preserveTimestamps: true });
  await fsp.copyFile('big', 'cow', fs.constants.COPYFILE_FICLONE);
  show('copy', fs.readFileSync('copy/a/b/2', 'utf8'), digest(fs.readFileSync('cow')));
  await fsp.rename('copy', 'moved');
  await fsp.rm('moved', { recursive: true });
  show('rm', fs.existsSync('moved'), fs.existsSync('copy'));
  await Promise.all(Array.from({ length: 200 }, (_, i) => fsp.writeFile(`p${i}`, `${i}`.repeat(i))));
  show('parallel', digest((await Promise.all(Array.from({ length: 200 }, (_, i) => fsp.readFile(`p${i}`)))).join()));
  await Promise.all(Array.from({ length: 200 }, (_, i) => fsp.unlink(`p${i}`)));
  const temporary = await fsp.mkdtemp('tmp-');
  show('mkdtemp', fs.statSync(temporary).isDirectory());
  fs.rmdirSync(temporary);
  show('statfs', fs.statfsSync('.').bsize, typeof fs.statfsSync('.').bfree);
  await fsp.lutimes('tree/a/up', 1, 2);
  show('lutimes', fs.lstatSync('tree/a/up').mtimeMs);
  fs.writeFileSync('watched', 'a');
  const seen = await new Promise((resolve) => {
    fs.watchFile('watched', { interval: 30 }, (now, before) => {
      if (now.size === before.size) return;
      fs.unwatchFile('watched');
      resolve([before.size, now.size]);
    });
    setTimeout(() => fs.appendFileSync('watched', 'bcd'), 200);
  });
  show('watchFile', seen);
  const other = fs.openSync('child', 'w+');
  execFileSync('sh', ['-c', 'echo from the child; echo to three >&3'], { stdio: ['ignore', other, 'inherit', other] });
  fs.writeSync(other, 'parent\n');
  show('child', fs.readFileSync('child', 'utf8'));
  show('input', String(execFileSync('cat', { stdio: [fs.openSync('lines', 'r'), 'pipe', 'inherit'] }).length));
  const digests = await Promise.all(
    [0, 1, 2, 3].map(
      (index) =>
        new Promise((resolve, reject) => {
          const thread = new Worker(new URL(import.meta.url), { workerData: { index, directory: process.cwd() } });
          thread.on('message', resolve);
          thread.on('error', reject);
        }),
    ),
  );
  show('workers', digests, fs.readFileSync('shared', 'utf8').split('\n').length - 1);
  fs.writeFileSync('mod.mjs', 'export default import.meta.url.endsWith("mod.mjs")');
  fs.writeFileSync('mod.cjs', 'module.exports = require("node:fs").readFileSync(__filename).length');
  show('import', (await import(path.resolve('mod.mjs'))).default, (await import(path.resolve('mod.cjs'))).default);
  show('left', fs.readdirSync('.').sort());
}
await (isMainThread ? main() : worker(workerData));
