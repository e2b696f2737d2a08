/*
 * link.h - the private line between pool-init and its service: a SOCK_SEQPACKET socketpair, the service's end is the descriptor given by `--link` (3).
 *
 * pool-init holds what must outlive a service (queue, arenas, plans, /dev/fuse descriptors, the kernel's INIT requests) and tells each service, first and restarted ones alike, the same
 * story from the beginning. So there is one way to start, and a restart is not a special case.
 *
 * One packet is one JSON object {"type": "...", ...} of at most DC_LINK_MESSAGE_MAX bytes, with at most DC_LINK_DESCRIPTORS_MAX descriptors (SCM_RIGHTS, received with
 * MSG_CMSG_CLOEXEC). Numbers are JSON integers. A message of an unknown type is ignored with a log line; a malformed one, or the end of the line (pool-init is gone: the kernel is
 * killing everybody), ends the service. Neither side blocks on the line: pool-init queues what does not fit, the service reads and sends on a thread that serves no data.
 *
 * ---- pool-init -> service, always in this order after a start -----------------------------------------------------------------
 * start       {epoch, name, workers, trust, keep, keepers[]}     [queue, ledger, keeper...]     (trust as in --trust; "process": the queue is not used, requests come through the arenas' mailboxes)
 *             First. workers 0: the service chooses. epoch counts services of this pool from 1; above 1 the queue memory is the predecessor's as it died: keep its slots' words and tail (a client may be between its
 *             fetch-and-add and its publish), and reset what only workers write (`workers`, `worker_cpu`, header). At 1 the memory is all zero.
 *             keep true: ledger is a memfd of DC_LINK_LEDGER_BYTES, all zero at first, for what a successor must know of open files; and the service starts a keeper, a child that shares
 *             its descriptor table, before it serves anything (answer `keeper`). keepers: those of the services since the last that was ready, their pids in the pool, the
 *             youngest last, and a pidfd each: what they hold may be copied until `ready`, when pool-init ends them. keep false or absent: nothing that is open outlives the service.
 * client-add  {client, generation, pid, uid, gid, groups[], command}     [arena]
 *             A process attaches (or, before `go`: lives, or has left posted writes in its arena: then `client-del` follows `go`). client < DC_CLIENTS_MAX, generation 1..1023, pid as the pool sees it, command for messages only. The arena is sealed
 *             and has its header. Answer `client-added` as soon as requests with this {client, generation} are served; the process waits for it.
 * mount       {id, name, mountpoint, cache: "auto"|"none", init, resend}     [plan, fuse, clone...]
 *             A new instance (or, before `go`: one that is mounted). id: number in the mount table, never reused. name: the plan's. plan: sealed memfd with the plan's JSON text
 *             (docs/contract.md §5), its size is the file's. fuse: /dev/fuse descriptor, mounted. clone: further descriptors of the same connection, as many as `ready` asked for (none
 *             for mounts told before `ready` unless an earlier service asked). init: the kernel's FUSE_INIT request in hex; pool-init has read it, so feed it to the session first; its
 *             answer is always written, and ENOENT (answered by a predecessor) is no error. resend: false for a fresh connection. true: the connection is a predecessor's and the kernel
 *             has put what that one took back into the queue *before* this message; those requests carry bit 63 in `unique` and may have been done already.
 *             Nothing was read from `fuse` but INIT. Answer `mounted`.
 * go          {}
 *             All that was has been told. Workers may take from the queue from now on, not earlier: an item of a client that was not told yet would be dropped and its
 *             sender wait for ever. A request for an instance whose re-mount is still in progress waits. Answer `ready`.
 *
 * Later, in any order: client-add, mount as above, and
 * client-del  {client, generation}     the process is gone (or attached anew). Answer `client-gone` when its arena is unmapped and nothing refers to it.
 * unmount     {id}                     the kernel has unmounted (or detached) it already: stop the door, make the stack durable, close it, close `fuse`. Answer `unmounted`.
 * keep        {}                       the keeper is gone: start another, answer `keeper`.
 * drain       {}                       another service is to take over: finish what is under way, take nothing more, write back what is held back, answer `drained`, exit 0.
 * quit        {}                       nothing is mounted any more: exit 0.
 *
 * ---- service -> pool-init -----------------------------------------------------------------------------------------------------
 * ready         {epoch, clones?, thread?}     service.sock answers, workers run. clones: further /dev/fuse descriptors wanted per mount (0..DC_LINK_CLONES_MAX; default 0)
 *               thread: id of one that never waits in the kernel for the successor, so that its end tells of the process's
 * keeper        {pid}                         as the pool sees it. It lives until pool-init ends it.
 * client-added  {client, generation, error?}  error: errno, absent or 0 when served
 * client-gone   {client, generation}          the index may be used again, with another generation
 * client-cut    {client, generation, reason}  it did what no library does and is served no more; client-gone follows by itself. Its process may not attach again.
 * mounted       {id, ok, error?, code?}       error: one sentence; code: errno name ("EINVAL")
 * drained       {}                            nothing is under way any more
 * unmounted     {id, ok, error?}              ok false: something could not be made durable; it is unmounted all the same
 * log           {message}                     a line for pool-init's log (a client that lied, an operation in doubt after a restart)
 *
 * A service that ends before `quit` is started again (immediately, later with back-off), with epoch + 1. A mount that was answered `mounted ok: false` when told
 * again is aborted, stays mounted, and answers errors until it is unmounted.
 */
#ifndef DICICLO_INIT_LINK_H
#define DICICLO_INIT_LINK_H

#define DC_LINK_DESCRIPTOR 3
#define DC_LINK_MESSAGE_MAX 65536u
#define DC_LINK_OTHER_LAYOUT 3 /* exit status of a service whose DC_LAYOUT_VERSION is not that of its --layout */
#define DC_LINK_CLONES_MAX 14
#define DC_LINK_DESCRIPTORS_MAX (2 + DC_LINK_CLONES_MAX)
#define DC_LINK_KEEPERS_MAX 4
#define DC_LINK_LEDGER_BYTES ((size_t)64 + ((size_t)1 << 30)) /* sparse: 64 bytes for each file that is open */

/* init -> service */
#define DC_LINK_START "start"
#define DC_LINK_CLIENT_ADD "client-add"
#define DC_LINK_CLIENT_DEL "client-del"
#define DC_LINK_MOUNT "mount"
#define DC_LINK_UNMOUNT "unmount"
#define DC_LINK_GO "go"
#define DC_LINK_KEEP "keep"
#define DC_LINK_DRAIN "drain"
#define DC_LINK_QUIT "quit"
/* service -> init */
#define DC_LINK_READY "ready"
#define DC_LINK_KEEPER "keeper"
#define DC_LINK_DRAINED "drained"
#define DC_LINK_CLIENT_ADDED "client-added"
#define DC_LINK_CLIENT_GONE "client-gone"
#define DC_LINK_CLIENT_CUT "client-cut"
#define DC_LINK_MOUNTED "mounted"
#define DC_LINK_UNMOUNTED "unmounted"
#define DC_LINK_LOG "log"

#define DC_LINK_GENERATION_MAX 1023u

#endif
