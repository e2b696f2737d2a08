/*
 * dispatch.c - the second way in: system calls that do not pass libc's symbols, by Syscall User Dispatch (Linux 5.11, x86-64). Off unless DICICLO_SYSCALLS=dispatch.
 *
 * The kernel turns each system call made outside of this library's own code into SIGSYS; the handler gives it to the function that syscall() would use (syscalls.c) or makes it itself.
 * There is no selector byte: what tells the library's calls from others is where the instruction stands. So a signal handler of the program that runs on top of a wrapper is dispatched
 * like everything else, nothing has to be switched back, and leaving by longjmp leaves nothing behind. Wrappers never hand a call to libc under it (direct.c).
 *
 * Dispatch is a thread's own and ends with clone and exec: clones are made here so that the child begins dispatched, exec puts the environment back. What must be otherwise from within
 * a signal handler is done on the interrupted context: masks, the alternate stack, sigreturn, clone. SIGSYS is never blocked, whatever the program asks, but looks as it asked.
 *
 * Not done: rewriting the call sites that were met. The instruction has two bytes, a jump to us five, so it wants code at address 0 (vm.mmap_min_addr forbids), or the place of the
 * "mov $number, %eax" before it: five bytes that may as well be the end of a longer instruction, which cannot be told by looking backwards. What a signal gives for free would be missing
 * too: vector registers saved, another stack for programs whose own are small.
 */
#include "dispatch.h"

#include "internal.h"
#include "waiting.h"

bool dc_dispatching;

#if defined(__x86_64__)

#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <linux/audit.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <ucontext.h>

/* Newer than the oldest headers that we build with. */
#define DISPATCH 59 /* PR_SET_SYSCALL_USER_DISPATCH */
#define DISPATCHED 2 /* si_code SYS_USER_DISPATCH */
#define DC_SYS_clone3 435
#define DC_SYS_epoll_pwait2 441
#define WITH_RESTORER 0x04000000
#define SIGNALS 64
#define SIGSYS_BIT (UINT64_C(1) << (SIGSYS - 1))
#define NESTED_MAX 16
#define CONTEXT_BYTES 304 /* the kernel's struct ucontext */
#define STACK_BYTES_MIN 32768 /* an alternate stack that holds a carried call */

struct action { /* as the kernel has it */
	uintptr_t handler;
	uint64_t flags;
	uintptr_t restorer;
	uint64_t mask;
};

struct clone_arguments { /* of clone3 */
	uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, more[8];
};

struct range {
	uintptr_t start, length;
};

extern struct range dc_dispatch_range; /* the library's code */
struct range dc_dispatch_range;
static struct range libc;
static struct action own;                /* what the program wants of SIGSYS */
static uint64_t wanted_masks;            /* by signal: its action's mask has SIGSYS */
static _Atomic uint32_t actions_lock;
static _Atomic bool on_alternate;

static TLS struct {
	bool hidden;  /* the program has SIGSYS blocked, it thinks */
	bool pending; /* one came meanwhile */
	bool forking;
	unsigned depth;
	struct {
		uintptr_t frame;
		int state; /* of cancellation, to be put back */
	} call[NESTED_MAX]; /* carried calls that are being made, the innermost last */
} thread;

/* ---- from within the handler, in other places ---------------------------------------------------------------------------------- */
void dc_dispatch_restorer(void);
_Noreturn void dc_dispatch_sigreturn(uintptr_t frame);
long dc_dispatch_clone(const greg_t *registers, long number, long first, long second);
long dc_dispatch_old(long number, long a, long b, long c, long d, long e, long f);

/* The bytes by which unwinders know a signal frame, with nothing described before them. */
__asm__(".text\n.hidden dc_dispatch_restorer\n.globl dc_dispatch_restorer\n.type dc_dispatch_restorer, @function\n\tnop\n"
	"dc_dispatch_restorer:\n\tmov $15, %rax\n\tsyscall\n\tud2\n.size dc_dispatch_restorer, .-dc_dispatch_restorer\n");

/* The program's own return from a signal, on the frame that it stands on. */
__asm__(".text\n.hidden dc_dispatch_sigreturn\n.globl dc_dispatch_sigreturn\n.type dc_dispatch_sigreturn, @function\n"
	"dc_dispatch_sigreturn:\n\tmov %rdi, %rsp\n\tmov $15, %eax\n\tsyscall\n\tud2\n.size dc_dispatch_sigreturn, .-dc_dispatch_sigreturn\n");

/*
 * clone with a stack of its own: the child must go on where the program made the call, with its registers, and dispatched. Its stack holds what it needs for that: whether to be
 * dispatched, rdi, rsi, the place to go on. All else is loaded before the call. Offsets: gregs of <sys/ucontext.h>.
 */
__asm__(".text\n.hidden dc_dispatch_clone\n.globl dc_dispatch_clone\n.type dc_dispatch_clone, @function\ndc_dispatch_clone:\n"
	"\tpush %rbx\n\tpush %rbp\n\tpush %r12\n\tpush %r13\n\tpush %r14\n\tpush %r15\n"
	"\tmov %rsi, %rax\n\tmov %rdi, %r11\n\tmov %rdx, %rdi\n\tmov %rcx, %rsi\n"
	"\tmov 96(%r11), %rdx\n\tmov 0(%r11), %r8\n\tmov 8(%r11), %r9\n\tmov 16(%r11), %r10\n"
	"\tmov 32(%r11), %r12\n\tmov 40(%r11), %r13\n\tmov 48(%r11), %r14\n\tmov 56(%r11), %r15\n\tmov 80(%r11), %rbp\n\tmov 88(%r11), %rbx\n"
	"\tsyscall\n\ttest %rax, %rax\n\tjz 1f\n"
	"\tpop %r15\n\tpop %r14\n\tpop %r13\n\tpop %r12\n\tpop %rbp\n\tpop %rbx\n\tret\n"
	"1:\tpop %rcx\n\tpop %rdi\n\tpop %rsi\n\ttest %rcx, %rcx\n\tjz 2f\n"
	"\tpush %rdi\n\tpush %rsi\n\tpush %rdx\n\tpush %r10\n\tpush %r8\n"
	"\tmov $59, %edi\n\tmov $1, %esi\n\tmov dc_dispatch_range(%rip), %rdx\n\tmov dc_dispatch_range+8(%rip), %r10\n\txor %r8d, %r8d\n\tmov $157, %eax\n\tsyscall\n"
	"\tpop %r8\n\tpop %r10\n\tpop %rdx\n\tpop %rsi\n\tpop %rdi\n"
	"2:\txor %eax, %eax\n\tret\n.size dc_dispatch_clone, .-dc_dispatch_clone\n");
struct child_start {
	uint64_t dispatched, rdi, rsi, rip;
};

/* int $0x80: another table of calls. */
__asm__(".text\n.hidden dc_dispatch_old\n.globl dc_dispatch_old\n.type dc_dispatch_old, @function\ndc_dispatch_old:\n"
	"\tpush %rbx\n\tpush %rbp\n\tmov %rdi, %rax\n\tmov %rsi, %rbx\n\tmov %r8, %rsi\n\tmov %r9, %rdi\n\tmov %rcx, %r10\n\tmov %rdx, %rcx\n\tmov %r10, %rdx\n"
	"\tmov 24(%rsp), %rbp\n\tint $0x80\n\tpop %rbp\n\tpop %rbx\n\tret\n.size dc_dispatch_old, .-dc_dispatch_old\n");

static long raw(long number, const long a[6]) {
	return dc_raw6(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

static long switch_dispatch(bool on) {
	return dc_raw6(SYS_prctl, DISPATCH, on, on ? (long)dc_dispatch_range.start : 0, on ? (long)dc_dispatch_range.length : 0, 0, 0);
}

/* The program's memory, which may not be there. 0, or -EFAULT. */
static long copy(bool in, void *ours, long theirs, size_t size) {
	struct iovec here = {ours, size}, there = {(void *)theirs, size};
	long result = dc_raw6(in ? SYS_process_vm_readv : SYS_process_vm_writev, dc_raw6(SYS_getpid, 0, 0, 0, 0, 0, 0), (long)&here, 1, (long)&there, 1, 0);
	if (result == (long)size) return 0;
	if (result != -ENOSYS && result != -EPERM) return -EFAULT;
	memcpy(in ? ours : (void *)theirs, in ? (void *)theirs : ours, size); /* a filter forbids to ask */
	return 0;
}

/* ---- signals ------------------------------------------------------------------------------------------------------------------- */
/* Held by a process: in a forked child a thread of the parent does not hold it. */
static uint64_t lock_actions(void) {
	uint64_t all = ~UINT64_C(0), before = 0;
	uint32_t self = (uint32_t)dc_raw6(SYS_getpid, 0, 0, 0, 0, 0, 0);
	dc_raw6(SYS_rt_sigprocmask, SIG_SETMASK, (long)&all, (long)&before, sizeof all, 0, 0);
	for (;;) {
		uint32_t seen = 0;
		if (atomic_compare_exchange_strong(&actions_lock, &seen, self)) return before;
		if (seen != self && atomic_compare_exchange_strong(&actions_lock, &seen, self)) return before;
		dc_futex_wait(&actions_lock, self, 1000000);
	}
}

static void unlock_actions(uint64_t before) {
	atomic_store(&actions_lock, 0);
	dc_futex_wake(&actions_lock, 1);
	dc_raw6(SYS_rt_sigprocmask, SIG_SETMASK, (long)&before, 0, sizeof before, 0, 0);
}

/* SIGSYS's action is kept here; of the others' masks SIGSYS is left out: blocked, the next call would end the process. */
static long set_action(const long a[6]) {
	struct action wanted = {0}, before = {0};
	long number = a[0];
	if (a[3] != sizeof wanted.mask || number < 1 || number > SIGNALS || number == SIGKILL || number == SIGSTOP) return raw(SYS_rt_sigaction, a);
	if (a[1] && copy(true, &wanted, a[1], sizeof wanted)) return -EFAULT;
	bool masks = wanted.mask & SIGSYS_BIT;
	uint64_t bit = UINT64_C(1) << (number - 1), signals = lock_actions();
	long result = 0;
	if (number == SIGSYS) {
		before = own;
		if (a[1]) own = wanted;
	} else {
		wanted.mask &= ~SIGSYS_BIT;
		if (wanted.flags & WITH_RESTORER) wanted.restorer = (uintptr_t)dc_dispatch_restorer; /* libc's would be one more signal */
		result = dc_raw6(SYS_rt_sigaction, number, a[1] ? (long)&wanted : 0, (long)&before, sizeof wanted.mask, 0, 0);
		if (wanted_masks & bit) before.mask |= SIGSYS_BIT;
		if (result == 0 && a[1]) wanted_masks = masks ? wanted_masks | bit : wanted_masks & ~bit;
	}
	unlock_actions(signals);
	if (result == 0 && a[2]) result = copy(false, &before, a[2], sizeof before);
	return result;
}

static void hide(bool hidden) {
	thread.hidden = hidden;
	if (hidden || !thread.pending) return;
	thread.pending = false;
	dc_raw6(SYS_tgkill, dc_raw6(SYS_getpid, 0, 0, 0, 0, 0, 0), k_gettid(), SIGSYS, 0, 0, 0);
}

/* The handler's mask is the interrupted code's: nothing is added to it. So what it is now is what must be when the handler returns. */
static long set_mask(const long a[6], ucontext_t *context) {
	uint64_t set = 0, before = 0;
	bool hidden = thread.hidden;
	if (a[3] != sizeof set) return -EINVAL;
	if (a[1] && copy(true, &set, a[1], sizeof set)) return -EFAULT;
	uint64_t allowed = set & ~SIGSYS_BIT;
	long result = dc_raw6(SYS_rt_sigprocmask, a[0], a[1] ? (long)&allowed : 0, (long)&before, sizeof set, 0, 0);
	if (result < 0) return result;
	dc_raw6(SYS_rt_sigprocmask, SIG_BLOCK, 0, (long)&context->uc_sigmask, sizeof set, 0, 0);
	if (hidden) before |= SIGSYS_BIT;
	if (a[2] && copy(false, &before, a[2], sizeof before)) return -EFAULT;
	if (a[1] && (a[0] == SIG_SETMASK || set & SIGSYS_BIT)) hide(a[0] == SIG_SETMASK ? set & SIGSYS_BIT : a[0] == SIG_BLOCK);
	return result;
}

/* A call that waits with a mask of its own: `at` is the argument that points to it. */
static long with_mask(long number, const long a[6], unsigned at) {
	long changed[6];
	uint64_t mask;
	memcpy(changed, a, sizeof changed);
	if (a[at] && copy(true, &mask, a[at], sizeof mask) == 0) {
		mask &= ~SIGSYS_BIT;
		changed[at] = (long)&mask;
	}
	return raw(number, changed);
}

/* As with_mask, where the argument points to {mask, its size}. */
static long with_mask_pair(long number, const long a[6]) {
	long changed[6];
	struct {
		long mask;
		size_t size;
	} pair;
	uint64_t mask;
	memcpy(changed, a, sizeof changed);
	if (a[5] && copy(true, &pair, a[5], sizeof pair) == 0 && pair.mask && copy(true, &mask, pair.mask, sizeof mask) == 0) {
		mask &= ~SIGSYS_BIT;
		pair.mask = (long)&mask;
		changed[5] = (long)&pair;
	}
	return raw(number, changed);
}

static void install(bool alternate) {
	struct action action = {.flags = SA_SIGINFO | SA_NODEFER | WITH_RESTORER | (alternate ? SA_ONSTACK : 0), .restorer = (uintptr_t)dc_dispatch_restorer};
	extern void dc_dispatch_signal(int number, siginfo_t *info, void *context);
	action.handler = (uintptr_t)dc_dispatch_signal;
	dc_raw6(SYS_rt_sigaction, SIGSYS, (long)&action, 0, sizeof action.mask, 0, 0);
}

/*
 * The frame carries the thread's alternate stack and puts it back. Programs whose own stacks are too small for a signal (Go's) give each thread a large alternate one: from the first of
 * those on SIGSYS goes there. Small ones are for a last word after an overflow: a carried call would not fit.
 */
static long set_alternate(const long a[6], ucontext_t *context) {
	stack_t wanted, *now = &context->uc_stack, before = *now;
	uintptr_t at = (uintptr_t)context->uc_mcontext.gregs[REG_RSP], start = (uintptr_t)now->ss_sp;
	int automatic = (int)(1U << 31); /* SS_AUTODISARM */
	bool on = now->ss_size && !(now->ss_flags & automatic) && at > start && at - start <= now->ss_size;
	before.ss_flags = (now->ss_flags & automatic) | (!now->ss_size ? SS_DISABLE : on ? SS_ONSTACK : 0);
	if (a[0]) {
		if (copy(true, &wanted, a[0], sizeof wanted)) return -EFAULT;
		int mode = wanted.ss_flags & ~automatic;
		if (on) return -EPERM;
		if (mode != 0 && mode != SS_DISABLE && mode != SS_ONSTACK) return -EINVAL;
		if (mode == SS_DISABLE) {
			wanted.ss_sp = NULL;
			wanted.ss_size = 0;
		} else if (wanted.ss_size < 2048) return -ENOMEM;
		if (mode != SS_DISABLE && wanted.ss_size >= STACK_BYTES_MIN && !atomic_exchange(&on_alternate, true)) install(true);
		*now = wanted;
	}
	return a[1] && copy(false, &before, a[1], sizeof before) ? -EFAULT : 0;
}

/* While it stands on the alternate stack a thread cannot be given another one, not by sigreturn either: so that is made from a copy of the frame that stands elsewhere. */
static void leave_alternate(const ucontext_t *context, const stack_t *former) {
	static TLS _Alignas(16) unsigned char frame[CONTEXT_BYTES];
	uint64_t all = ~UINT64_C(0);
	uintptr_t at = (uintptr_t)__builtin_frame_address(0), start = (uintptr_t)former->ss_sp;
	if (!former->ss_size || at <= start || at - start > former->ss_size) return;
	dc_raw6(SYS_rt_sigprocmask, SIG_SETMASK, (long)&all, 0, sizeof all, 0, 0); /* until then nothing may be put below */
	memcpy(frame, context, sizeof frame);
	dc_dispatch_sigreturn((uintptr_t)frame);
}

/* A SIGSYS of other origin: a seccomp filter's, somebody's kill. The program's action, as the kernel would. */
static void foreign(int number, siginfo_t *info, void *context) {
	bool sent = info->si_code <= 0;
	if (sent && thread.hidden) {
		thread.pending = true;
		return;
	}
	struct action action = own;
	if (action.handler == (uintptr_t)SIG_IGN && sent) return;
	if (action.handler <= (uintptr_t)SIG_IGN) {
		struct action none = {0};
		uint64_t bit = SIGSYS_BIT;
		dc_raw6(SYS_rt_sigaction, SIGSYS, (long)&none, 0, sizeof none.mask, 0, 0);
		dc_raw6(SYS_tgkill, dc_raw6(SYS_getpid, 0, 0, 0, 0, 0, 0), k_gettid(), SIGSYS, 0, 0, 0);
		dc_raw6(SYS_rt_sigprocmask, SIG_UNBLOCK, (long)&bit, 0, sizeof bit, 0, 0);
		return;
	}
	if (action.flags & (uint64_t)SA_RESETHAND) own = (struct action){0};
	((void (*)(int, siginfo_t *, void *))action.handler)(number, info, context);
}

/* ---- copies of this thread and process ------------------------------------------------------------------------------------------ */
bool dc_fork_announce(bool begins) {
	bool before = thread.forking;
	thread.forking = begins;
	return before;
}

static void before_copy(uint64_t flags) {
	if (thread.forking || !dc_active() || flags & CLONE_FILES) return;
	if (flags & CLONE_VM) { /* it execs soon */
		dc_children_inherited();
		dc_share_table(DC_SHARE_INHERITABLE);
		return;
	}
	dc_children_escaped();
	dc_share_table(DC_SHARE_ALL);
}

/* A thread with a thread's memory of its own, and a process with a copy of ours, go on dispatched; who borrows our memory until its exec does not. */
static bool child_dispatched(uint64_t flags) {
	return dc_active() && (!(flags & CLONE_VM) || (flags & CLONE_THREAD && flags & CLONE_SETTLS));
}

static long copied_here(long result) {
	if (result == 0 && dc_active()) switch_dispatch(true);
	return result;
}

/* A child on our own stack would run over this handler's frame: it gets its own memory, and a parent that wanted to wait does. */
static long make_copy(long number, const long a[6], uint64_t flags, uint64_t stack, const ucontext_t *context) {
	if (flags & CLONE_VM && flags & CLONE_FILES && !(flags & (CLONE_SETTLS | CLONE_VFORK))) dc_stop_carrying(); /* threads without memory of their own */
	before_copy(flags);
	struct clone_arguments arguments = {0};
	long changed[6];
	memcpy(changed, a, sizeof changed);
	if (number == DC_SYS_clone3) {
		if (copy(true, &arguments, a[0], (size_t)a[1])) return -EFAULT;
		changed[0] = (long)&arguments;
	}
	if (!stack) {
		if (number == DC_SYS_clone3) arguments.flags &= ~(uint64_t)CLONE_VM;
		else changed[0] &= ~(long)CLONE_VM;
		return copied_here(raw(number, changed));
	}
	const greg_t *registers = context->uc_mcontext.gregs;
	struct child_start start = {child_dispatched(flags), (uint64_t)registers[REG_RDI], (uint64_t)registers[REG_RSI], (uint64_t)registers[REG_RIP]};
	if (copy(false, &start, (long)(stack - sizeof start), sizeof start)) return -EFAULT;
	if (number == DC_SYS_clone3) arguments.stack_size -= sizeof start;
	else changed[1] -= (long)sizeof start;
	return dc_dispatch_clone(registers, number, changed[0], changed[1]);
}

static long make_process(long number, const long a[6], const ucontext_t *context) {
	struct clone_arguments arguments = {0};
	switch (number) {
	case SYS_clone: return make_copy(number, a, (uint64_t)a[0], (uint64_t)a[1], context);
	case DC_SYS_clone3:
		if (a[1] < 64 || a[1] > (long)sizeof arguments) return raw(number, a);
		if (copy(true, &arguments, a[0], (size_t)a[1])) return -EFAULT;
		return make_copy(number, a, arguments.flags, arguments.stack ? arguments.stack + arguments.stack_size : 0, context);
	}
	/* fork, vfork */
	return make_copy(SYS_clone, (const long[6]){SIGCHLD | (number == SYS_vfork ? CLONE_VFORK : 0)}, SIGCHLD, 0, context);
}

/* ---- one call ------------------------------------------------------------------------------------------------------------------- */
static bool changes_ids(long number) {
	switch (number) {
	case SYS_setuid: case SYS_setgid: case SYS_setreuid: case SYS_setregid: case SYS_setresuid: case SYS_setresgid: case SYS_setfsuid: case SYS_setfsgid: case SYS_setgroups: return true;
	}
	return false;
}

/* Of a descriptor that is no instance's: nothing to look at. */
static bool is_kernels(long number, const long a[6]) {
	unsigned fd = (unsigned)a[0];
	bool in_table = fd < DC_FD_MAX && atomic_load_explicit(&dc_table[fd], memory_order_relaxed);
	switch (number) {
	case SYS_fcntl:
		if (a[1] == F_DUPFD || a[1] == F_DUPFD_CLOEXEC) return false;
		return !in_table || a[1] == F_GETOWN; /* may be negative and no error */
	case SYS_read: case SYS_write: case SYS_readv: case SYS_writev: case SYS_lseek: case SYS_ioctl: case SYS_flock: return !in_table;
	case SYS_pread64: case SYS_pwrite64: case SYS_preadv: case SYS_pwritev: case SYS_fstat: case SYS_fsync: case SYS_fdatasync: case SYS_getdents64:
		return !in_table && (fd >= DC_FD_MAX || dc_known[fd] == DC_KNOWN_NOT);
	case SYS_futex: case SYS_brk: case SYS_munmap: case SYS_mprotect: case SYS_madvise: case SYS_epoll_wait: case SYS_recvfrom: case SYS_sendto: case SYS_sched_yield: case SYS_nanosleep:
	case SYS_clock_nanosleep: case SYS_getpid: case SYS_gettid: return true;
	}
	return false;
}

/* A carried call that is not above us any more has been left by longjmp. */
static void drop_left(uintptr_t frame) {
	while (thread.depth && thread.call[thread.depth - 1].frame <= frame) {
		int state = thread.call[thread.depth - 1].state;
		if (state != PTHREAD_CANCEL_DISABLE) pthread_setcancelstate(state, NULL);
		thread.depth--; /* last: a handler may leave before it */
	}
}

/* libc makes some of its calls where it must not be cancelled, and those that may be are so by their thread's type: as soon as that can act again. */
static long carried(long number, const long a[6], uintptr_t frame) {
	if (thread.depth == NESTED_MAX) return raw(number, a); /* never for ever */
	unsigned at = thread.depth;
	thread.call[at].frame = frame;
	thread.call[at].state = PTHREAD_CANCEL_DISABLE;
	thread.depth = at + 1;
	atomic_signal_fence(memory_order_seq_cst);
	thread.call[at].frame = frame; /* again: until now a handler's calls used the same entry */
	thread.call[at].state = PTHREAD_CANCEL_DISABLE;
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &thread.call[at].state);
	long result = dc_syscall(number, a);
	drop_left(frame);
	return result;
}

static long answer(long number, const long a[6], ucontext_t *context) {
	if (!dc_active()) switch_dispatch(false);
	if (thread.depth) drop_left((uintptr_t)context);
	switch (number) {
	case SYS_rt_sigreturn: dc_dispatch_sigreturn((uintptr_t)context->uc_mcontext.gregs[REG_RSP]);
	case SYS_rt_sigaction: return set_action(a);
	case SYS_rt_sigprocmask: return set_mask(a, context);
	case SYS_sigaltstack: return set_alternate(a, context);
	case SYS_rt_sigsuspend: return with_mask(number, a, 0);
	case SYS_epoll_pwait:
	case DC_SYS_epoll_pwait2: return with_mask(number, a, 4);
	case SYS_ppoll:
		dc_upgrade_polled((const void *)a[0], (unsigned long)a[1]);
		return with_mask(number, a, 3);
	case SYS_pselect6:
		for (unsigned i = 1; i < 4; i++) dc_upgrade_selected((int)a[0], (const void *)a[i]);
		return with_mask_pair(number, a);
	case SYS_clone: case DC_SYS_clone3: case SYS_fork: case SYS_vfork: return make_process(number, a, context);
	case SYS_prctl:
		if (a[0] == DISPATCH) return -EINVAL; /* as before Linux 5.11: two cannot have it */
		return raw(number, a);
	}
	if (!dc_active() || is_kernels(number, a)) return raw(number, a);
	/* libc's own change each thread in turn, after our wrapper has done its part. */
	if (changes_ids(number) && (uintptr_t)context->uc_mcontext.gregs[REG_RIP] - libc.start < libc.length) return raw(number, a);
	return carried(number, a, (uintptr_t)context);
}

void dc_dispatch_signal(int number, siginfo_t *info, void *argument);
void dc_dispatch_signal(int number, siginfo_t *info, void *argument) {
	ucontext_t *context = argument;
	greg_t *r = context->uc_mcontext.gregs;
	if (info->si_code != DISPATCHED) {
		foreign(number, info, context);
		return;
	}
	long a[6] = {r[REG_RDI], r[REG_RSI], r[REG_RDX], r[REG_R10], r[REG_R8], r[REG_R9]};
	if (info->si_arch != AUDIT_ARCH_X86_64) {
		r[REG_RAX] = dc_dispatch_old(info->si_syscall, r[REG_RBX], r[REG_RCX], r[REG_RDX], r[REG_RSI], r[REG_RDI], r[REG_RBP]);
		return;
	}
	if (r[REG_RAX] == SYS_arch_prctl) { /* errno may be elsewhere afterwards */
		r[REG_RAX] = raw(SYS_arch_prctl, a);
		return;
	}
	int error = errno;
	stack_t alternate = context->uc_stack;
	long call = r[REG_RAX];
	r[REG_RAX] = answer(call, a, context);
	errno = error;
	if (call == SYS_sigaltstack && a[0] && r[REG_RAX] == 0) leave_alternate(context, &alternate);
}

/* ---- beginning ------------------------------------------------------------------------------------------------------------------- */
struct search {
	uintptr_t address;
	struct range found;
};

static int code_of(struct dl_phdr_info *info, size_t size, void *argument) {
	struct search *search = argument;
	(void)size;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *header = &info->dlpi_phdr[i];
		if (header->p_type != PT_LOAD || !(header->p_flags & PF_X) || search->address - (info->dlpi_addr + header->p_vaddr) >= header->p_memsz) continue;
		search->found = (struct range){info->dlpi_addr + header->p_vaddr, header->p_memsz};
		return 1;
	}
	return 0;
}

static struct range code_around(const void *address) {
	struct search search = {.address = (uintptr_t)address};
	dl_iterate_phdr(code_of, &search);
	return search.found;
}

int dc_dispatch_start(void) {
	uint64_t bit = SIGSYS_BIT;
	dc_dispatch_range = code_around((const void *)dc_dispatch_start);
	libc = code_around((const void *)getppid);
	if (!dc_dispatch_range.length || !libc.length) return -ENOSYS;
	struct action before;
	dc_raw6(SYS_rt_sigaction, SIGSYS, 0, (long)&before, sizeof before.mask, 0, 0);
	install(false);
	dc_dispatching = true;
	long result = switch_dispatch(true);
	if (result < 0) {
		dc_dispatching = false;
		dc_raw6(SYS_rt_sigaction, SIGSYS, (long)&before, 0, sizeof before.mask, 0, 0);
		return -ENOSYS;
	}
	own = before;
	uint64_t mask = 0;
	dc_raw6(SYS_rt_sigprocmask, SIG_UNBLOCK, (long)&bit, (long)&mask, sizeof bit, 0, 0);
	thread.hidden = mask & SIGSYS_BIT;
	return 0;
}

#else

int dc_dispatch_start(void) { return -ENOSYS; }
void *dc_direct(const char *name) { return NULL; }
bool dc_fork_announce(bool begins) { return false; }

#endif
