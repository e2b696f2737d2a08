/**
 * The machine's whole disks, to which rate limits are given.
 */
import { readdirSync, readFileSync } from 'node:fs';

/** `major:minor` of every whole disk that holds data; loop, RAM and stacked devices pass their I/O on to one of these. */
export function diskNumbers(): string[] {
  const numbers: string[] = [];
  let names: string[];
  try {
    names = readdirSync('/sys/block');
  } catch {
    return numbers;
  }
  for (const name of names.filter((each) => !/^(loop|ram|zram|sr|fd|dm-|md|nbd)/.test(each))) {
    try {
      if (Number(readFileSync(`/sys/block/${name}/size`, 'utf8')) === 0) continue;
      numbers.push(readFileSync(`/sys/block/${name}/dev`, 'utf8').trim());
    } catch {
      // The disk went away while we looked.
    }
  }
  return numbers;
}
