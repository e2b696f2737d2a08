#!/usr/bin/env python3
"""Seeded bugs: a copy of a shipped source with one mistake, which the simulated machine must find in a scenario. The text to replace must be there exactly once, so that a change of the source shows.

A mistake in a header is put, with the header, in front of a source that uses it.

usage: mutate.py NAME SOURCE OUTPUT | mutate.py --list     (NAME FILE SCENARIO per line, by tabs; FILE below native/)
"""
import os, sys

PUBLISH = 'if (atomic_compare_exchange_weak_explicit(word, &seen, DC_WORD(lap, DC_WORD_OCCUPIED, item), memory_order_seq_cst, memory_order_acquire)) return 0;'
INVALIDATE = '''if (atomic_compare_exchange_strong_explicit(word, &seen, DC_WORD(lap + 1, DC_WORD_FREE, 0), memory_order_acq_rel, memory_order_acquire)) {
					atomic_fetch_add'''
LOOK_AGAIN = 'if (!dc_receiver_empty(receiver) || atomic_load(&receiver->stopping)) return;'
ARM = 'atomic_exchange_explicit(&box->ear, DC_EAR_ARMED, memory_order_seq_cst);'
POOL, PAGES, STAMPS = 'libservices/cache/pool.c', 'test/ipc/sim/pages.c', 'service/stamps.c'
UPDATE = '''	make_odd(cache, page);
	if (data)
		page_copy(cache, cache_page_data(cache, page) + offset, data, bytes);
	else
		memset(cache_page_data(cache, page) + offset, 0, bytes);
	make_even(cache, page);'''
ANNOUNCE = '''	atomic_fetch_add_explicit(stamp, DC_STAMP_CHANGE + 1, memory_order_seq_cst);
	DC_FENCE(memory_order_release); /* nothing of the change may be seen before */
}

static inline void dc_stamp_end(_Atomic uint64_t *stamp) {
	atomic_fetch_sub_explicit(stamp, 1, memory_order_seq_cst);'''
LOOKUP = '''	dc_trail_name(walk->trail, walk->at, walk->rest, run);
	error = DC_FILE_CALL(root, lookup, walk->context, walk->at, walk->rest, run, &node, walk->trail ? NULL : attr, &consumed);'''
GETATTR = '''	dc_trail_attributes(walk->trail, node);
	int error = DC_FILE_CALL(walk->instance->root, getattr, walk->context, node, attr);'''

MUTATIONS = {
    # the queue
    'publish-by-store': ('queue: one worker', 'queue.c', PUBLISH, 'atomic_store_explicit(word, DC_WORD(lap, DC_WORD_OCCUPIED, item), memory_order_seq_cst);\n\t\treturn 0;'),
    'publish-not-ordered': ('queue: one sender', 'queue.c', PUBLISH, 'atomic_store_explicit(word, DC_WORD(lap, DC_WORD_OCCUPIED, item), memory_order_release); /* no fence before the look for sleepers */\n\t\treturn 0;'),
    'wake-when-it-was-empty': ('queue: on one CPU', 'queue.c', 'void dc_queue_wake(struct dc_queue *queue) {\n',
        'void dc_queue_wake(struct dc_queue *queue) {\n\tif (DC_WORD_STATE(atomic_load(&queue->slot[(atomic_load(&queue->tail) - 2) & (DC_QUEUE_SLOTS - 1)].word)) != DC_WORD_FREE) return;\n'),
    'no-invalidation': ('queue: sender dies', 'queue.c', 'else if (now > deadline) {', 'else if (now > deadline && lap == UINT32_MAX) {'),
    'invalidate-by-store': ('queue: one worker', 'queue.c', INVALIDATE, '''atomic_store_explicit(word, DC_WORD(lap + 1, DC_WORD_FREE, 0), memory_order_seq_cst);
				{
					atomic_fetch_add'''),
    'item-read-after-free': ('queue: one worker', 'queue.c', '*item = DC_WORD_ITEM(seen);', '*item = DC_WORD_ITEM(atomic_load_explicit(word, memory_order_acquire));'),
    'lap-not-compared': ('queue: two workers', 'queue.c', 'if (ahead < 0) return -1;', ''),
    'lap-ahead-not-seen': ('queue: one worker', 'queue.c', 'if (ahead > 0) return 1;', 'if (ahead > 1) return 1;\n\t\tif (ahead == 1) lap++;'),
    'ticket-by-store': ('queue: sender dies', 'queue.c', 'uint64_t ticket = atomic_fetch_add_explicit(&queue->tail, 1, memory_order_seq_cst);',
        'uint64_t ticket = atomic_load_explicit(&queue->tail, memory_order_seq_cst);\n\t\tatomic_store_explicit(&queue->tail, ticket + 1, memory_order_seq_cst);'),
    # waiting
    'sleep-without-looking': ('queue: one sender', 'receiver.c', LOOK_AGAIN, 'if (atomic_load(&receiver->stopping)) return;'),
    'sleep-seen-too-late': ('queue: on one CPU', 'receiver.c', '\tset_state(seat, DC_WORKER_SLEEP);\n', '\tseen = atomic_load_explicit(word, memory_order_seq_cst);\n\tset_state(seat, DC_WORKER_SLEEP);\n'),
    'sleep-announced-not-ordered': ('queue: one sender', 'receiver.c', '''	move(receiver, from, SLEEPING);
	bool first = !(atomic_fetch_or_explicit(&receiver->own_board.workers, DC_WORKERS_FIRST_SLEEPS, memory_order_seq_cst) & DC_WORKERS_FIRST_SLEEPS);
	if (first) show(receiver);''',
        '''	bool first = true;
	atomic_fetch_add_explicit(&receiver->own_board.workers, (SLEEPING - from) | DC_WORKERS_FIRST_SLEEPS, memory_order_seq_cst);
	atomic_store_explicit(&receiver->board->workers, atomic_load_explicit(&receiver->own_board.workers, memory_order_relaxed), memory_order_release);'''),
    'yields-without-end': ('queue: yields', 'receiver.c', '!came && round < DC_YIELDS', '!came'),
    'yields-and-does-not-look': ('queue: yields', 'receiver.c', '\tsleep_for_requests(receiver, seat, from);\n}', '\tif (from == SPINNING && together) {\n\t\tmove(receiver, SPINNING, SLEEPING);\n\t\tdc_futex_wait(&receiver->board->wake, atomic_load(&receiver->board->wake), 0);\n\t\tmove(receiver, SLEEPING, RUNNING);\n\t} else\n\t\tsleep_for_requests(receiver, seat, from);\n}'),
    'yields-and-wakes-nobody': ('queue: yields, threads', 'client.c', '\t\tif (round == 0) wake(client);\n', ''),
    'yields-and-rings-nobody': ('mailboxes: yields', 'client.c', '\t\tif (round == 0) wake(client);\n', ''),
    'comes-who-does-not-sleep': ('queue: blocked worker', 'receiver.c', '\tif (dc_board_wake(receiver->board, counts(receiver) + (coming ? RUNNING : 0), receiver->running_target))\n\t\tatomic', '\tdc_board_wake(receiver->board, counts(receiver) + (coming ? RUNNING : 0), receiver->running_target);\n\t\tatomic'),
    'comes-twice': ('queue: blocked again', 'receiver.c', 'come + 1', 'come + 2'),
    'yields-uncounted': ('mailboxes: yields', 'receiver.c', '\tfrom = SPINNING;\n', '\tfrom = together ? RUNNING : SPINNING;\n'),
    'counts-shown-once': ('queue: two workers', 'receiver.c', '} while (workers != shown);', '} while (workers == UINT32_MAX);'),
    'blocks-without-a-word': ('queue: blocked worker', 'receiver.c', '\t\twake_another(receiver);\n\telse\n\t\tpass_on(receiver);', '\t\twake_another(receiver);'),
    'answer-by-store': ('queue: one sender', 'receiver.c', 'uint32_t before = atomic_exchange_explicit(&slot->answer, DC_ANSWER(sequence, DC_ANSWER_DONE), memory_order_acq_rel);',
        'uint32_t before = atomic_load_explicit(&slot->answer, memory_order_seq_cst);\n\tatomic_store_explicit(&slot->answer, DC_ANSWER(sequence, DC_ANSWER_DONE), memory_order_seq_cst);'),
    'await-by-store': ('queue: one sender', 'client.c', 'if (!atomic_compare_exchange_strong_explicit(&slot->answer, &answer, waiting, memory_order_acq_rel, memory_order_acquire)) return true;',
        'atomic_store_explicit(&slot->answer, waiting, memory_order_seq_cst);'),
    # mailboxes
    'arm-not-ordered': ('mailboxes: one sender', 'mailbox.c', ARM, 'atomic_store_explicit(&box->ear, DC_EAR_ARMED, memory_order_release);'),
    'ring-not-ordered': ('mailboxes: one sender', 'mailbox.c', 'atomic_fetch_or_explicit(&mailbox->bells, UINT64_C(1) << slot, memory_order_seq_cst);',
        'atomic_store_explicit(&mailbox->bells, atomic_load_explicit(&mailbox->bells, memory_order_relaxed) | UINT64_C(1) << slot, memory_order_release);'),
    'rung-by-who-left': ('mailboxes: a thread leaves', 'mailbox.c', 'if (atomic_load_explicit(&mailbox->ear, memory_order_seq_cst) == DC_EAR_QUIET) return;', 'if (atomic_load_explicit(&mailbox->ear, memory_order_seq_cst) != DC_EAR_ARMED) return;'),
    'ear-not-marked': ('mailboxes: one sender', 'mailbox.c', 'atomic_exchange_explicit(&mailbox->ear, DC_EAR_RUNG, memory_order_seq_cst);', ''),
    'bell-taken-by-store': ('mailboxes: two workers', 'mailbox.c', 'if (!(atomic_fetch_and_explicit(&box->bells, ~bit, memory_order_acq_rel) & bit)) return false;',
        'atomic_store_explicit(&box->bells, bells & ~bit, memory_order_seq_cst);'),
    'no-listener-while-blocked': ('mailboxes: blocked worker, late', 'receiver.c', 'if (receiver->transport == DC_BY_MAILBOXES && !attended(counts(receiver)))',
        'if (receiver->transport == DC_BY_MAILBOXES && !attended(counts(receiver)) && !dc_receiver_empty(receiver))'),
    'reserve-does-not-look': ('mailboxes: blocked worker, late', 'receiver.c', 'if (receiver->transport == DC_BY_MAILBOXES && !first && !attended(counts(receiver))) return;', ''),
    'overheard-not-told': ('mailboxes: more than', 'receiver.c', '\tpass_on(receiver);\n\tlist[count] = (struct', '\tlist[count] = (struct'),
    # pages by the index
    'page-not-marked': ('pages: updated', POOL, 'if (!(value & 1)) atomic_exchange_explicit(generation, value + 1, memory_order_seq_cst);', '(void)value;', 'generation.h'),
    'page-marked-late': ('pages: updated', POOL, UPDATE, UPDATE.replace('\tmake_odd(cache, page);\n', '').replace('\tmake_even', '\tmake_odd(cache, page);\n\tmake_even')),
    'generation-comes-back': ('pages: updated', POOL, 'atomic_load_explicit(generation, memory_order_relaxed) + 1, memory_order_release', 'atomic_load_explicit(generation, memory_order_relaxed) + (atomic_load_explicit(generation, memory_order_relaxed) > 2 ? -1 : 1), memory_order_release',
        'generation.h'),
    'changing-page-read': ('pages: updated', PAGES, 'if (generation & 1 || ', 'if (', 'page_index.h'),
    'owner-not-compared': ('pages: another', PAGES, ' || atomic_load_explicit(&page->owner, memory_order_acquire) != owner', '', 'page_index.h'),
    'withheld-not-looked-at': ('pages: posted', PAGES, ' || atomic_load_explicit(&file->withheld, memory_order_seq_cst)', '', 'page_index.h'),
    'entry-not-looked-at-again': ('pages: file replaced', PAGES, ' && atomic_load_explicit(&file->id, memory_order_relaxed) == id', '', 'page_index.h'),
    'reader-does-not-look-again': ('pages: updated', 'test/ipc/sim/pages.c', 'return atomic_load_explicit(generation, memory_order_relaxed) == value;', 'return true;', 'generation.h'),
    'reader-without-fence': ('pages: updated', 'test/ipc/sim/pages.c', 'DC_FENCE(memory_order_acquire); /* nothing of the copy', '/* nothing of the copy', 'generation.h'),
    # leases on names and attributes
    'change-announced-late': ('stamps: attributes', STAMPS, ANNOUNCE, ANNOUNCE[ANNOUNCE.index('}'):].replace('sub_explicit(stamp, 1', 'add_explicit(stamp, DC_STAMP_CHANGE'), 'stamp.h'),
    'change-not-under-way': ('stamps: attributes', STAMPS, ANNOUNCE, ANNOUNCE.replace('DC_STAMP_CHANGE + 1', 'DC_STAMP_CHANGE').replace('\tatomic_fetch_sub_explicit(stamp, 1, memory_order_seq_cst);', ''), 'stamp.h'),
    'under-way-ignored': ('stamps: attributes', STAMPS, 'return DC_STAMP_UNDER_WAY(word) ? 0 : word;', 'return word;', 'stamp.h'),
    'begin-by-store': ('stamps: two changers', STAMPS, 'atomic_fetch_add_explicit(stamp, DC_STAMP_CHANGE + 1, memory_order_seq_cst);',
        'atomic_store_explicit(stamp, atomic_load_explicit(stamp, memory_order_seq_cst) + DC_STAMP_CHANGE + 1, memory_order_seq_cst);', 'stamp.h'),
    'end-by-store': ('stamps: two changers', STAMPS, 'atomic_fetch_sub_explicit(stamp, 1, memory_order_seq_cst);',
        'atomic_store_explicit(stamp, atomic_load_explicit(stamp, memory_order_seq_cst) - 1, memory_order_seq_cst);', 'stamp.h'),
    'stamp-read-after-name': ('stamps: names', 'service/walk.c', LOOKUP, '\n'.join(reversed(LOOKUP.split('\n')))),
    'stamp-read-after-attributes': ('stamps: attributes', 'service/walk.c', GETATTR, '\n'.join(reversed(GETATTR.split('\n')))),
    'name-not-locked': ('stamps: whose', STAMPS, '\tlock_name(context, lock); \\\n', ''),
    'named-not-changed': ('stamps: whose', STAMPS, '\tif (!error) changes_attributes(change, node);', '\t(void)error;'),
    'keeper-does-not-look': ('stamps: attributes', 'test/ipc/sim/stamps.c', 'return atomic_load_explicit(stamp, memory_order_acquire) == given;', 'return true;', 'stamp.h'),
}


def read(path):
    with open(path) as stream:
        return stream.read()


def main():
    if sys.argv[1] == '--list':
        for name, (scenario, file, *_) in MUTATIONS.items():
            print(name, file if '/' in file else 'ipc/' + file, scenario, sep='\t')
        return
    name, source, output = sys.argv[1:4]
    _, file, old, new, *header = MUTATIONS[name]
    changed = os.path.join(os.path.dirname(os.path.abspath(__file__)), '../../../ipc', header[0]) if header else source
    text = read(changed)
    if os.path.basename(source) != os.path.basename(file) or text.count(old) != 1:
        sys.exit(f'{name}: the text to change is {text.count(old)} times in {changed}')
    with open(output, 'w') as stream:
        stream.write(text.replace(old, new) + (read(source) if header else ''))


main()
