/* Every atomic access of Ringline, and the argument why each is enough.
 *
 * Owned by shm/; used by the .pxd files of shm/, relayd/ and transceiverd/ that touch shared memory.
 * Nothing else in the project may use a C11 atomic or a `__atomic` builtin, so that the proof lives here
 * and in shm/README.md and nowhere else. Each function names its PARTNER: the access on the other side that it
 * synchronises with. Words shared between processes are naturally aligned uint32_t / uint64_t, which are lock-free
 * (and therefore address-free, C11 7.17.5) on every machine we build for; the assertions below hold us to it.
 */
#ifndef RINGLINE_SHM_ATOMICS_H
#define RINGLINE_SHM_ATOMICS_H

#include <stdatomic.h>
#include <stdint.h>

_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "64-bit atomics must be lock-free: they are shared between processes");
_Static_assert(ATOMIC_INT_LOCK_FREE == 2, "32-bit atomics must be lock-free: they are shared between processes");

/* Fault points: in a test build every store that another process could see half of a publish through is preceded by
 * one; the build counts them down and kills the process with SIGKILL. In the product they are nothing. */
#ifdef RINGLINE_FAULT_POINTS
void ringline_fault_point(void);
#define RINGLINE_FAULT_POINT() ringline_fault_point()
#else
#define RINGLINE_FAULT_POINT() ((void)0)
#endif

/* PARTNER: store_release_*. What the writer did before its release is seen by all that follows this load. */
static inline uint64_t load_acquire_u64(const uint64_t *word) {
    return atomic_load_explicit((const _Atomic uint64_t *)word, memory_order_acquire);
}
static inline uint32_t load_acquire_u32(const uint32_t *word) {
    return atomic_load_explicit((const _Atomic uint32_t *)word, memory_order_acquire);
}

/* PARTNER: load_acquire_*. Publishes everything written before it. */
static inline void store_release_u64(uint64_t *word, uint64_t value) {
    RINGLINE_FAULT_POINT();
    atomic_store_explicit((_Atomic uint64_t *)word, value, memory_order_release);
}
static inline void store_release_u32(uint32_t *word, uint32_t value) {
    RINGLINE_FAULT_POINT();
    atomic_store_explicit((_Atomic uint32_t *)word, value, memory_order_release);
}

/* For a word's only writer reading its own word back, and for statistics where any recent value will do. */
static inline uint64_t load_relaxed_u64(const uint64_t *word) {
    return atomic_load_explicit((const _Atomic uint64_t *)word, memory_order_relaxed);
}
static inline uint32_t load_relaxed_u32(const uint32_t *word) {
    return atomic_load_explicit((const _Atomic uint32_t *)word, memory_order_relaxed);
}
/* For the sizes inside a record: ordered by the acquire of `tail`, but read exactly once, because a peer gone mad may
 * change them between the check and the use. */
static inline uint16_t load_relaxed_u16(const uint16_t *word) {
    return atomic_load_explicit((const _Atomic uint16_t *)word, memory_order_relaxed);
}
static inline uint8_t load_relaxed_u8(const uint8_t *word) {
    return atomic_load_explicit((const _Atomic uint8_t *)word, memory_order_relaxed);
}
/* PARTNER: load_relaxed_*. Order does not matter: counters, heartbeats, cursors that only a successor reads. */
static inline void store_relaxed_u64(uint64_t *word, uint64_t value) {
    RINGLINE_FAULT_POINT();
    atomic_store_explicit((_Atomic uint64_t *)word, value, memory_order_relaxed);
}
static inline void store_relaxed_u32(uint32_t *word, uint32_t value) {
    RINGLINE_FAULT_POINT();
    atomic_store_explicit((_Atomic uint32_t *)word, value, memory_order_relaxed);
}

/* One writer a counter, so adding is a load and a store, never a locked instruction. */
static inline void add_relaxed_u64(uint64_t *word, uint64_t n) {
    store_relaxed_u64(word, load_relaxed_u64(word) + n);
}

/* PARTNER: fence_full on the other side of a doorbell. The producer stores its tail and then reads `armed`; the
 * consumer stores `armed` and then reads the tail. Store-then-load of different words is the one order that acquire
 * and release do not give (on x86 either: the store waits in the store buffer), so both sides fence in between; then
 * at least one of them sees the other's store and no wake-up is lost. */
static inline void fence_full(void) { atomic_thread_fence(memory_order_seq_cst); }

/* PARTNER: fence_acquire in a seqlock's reader / store_release_* of its writer (Boehm, "Can seqlocks get along with
 * programming language memory models?", MSPC 2012). */
static inline void fence_acquire(void) { atomic_thread_fence(memory_order_acquire); }
static inline void fence_release(void) { atomic_thread_fence(memory_order_release); }

/* PARTNER: the kernel, which ends a process between two of its instructions. A successor sees every store of the
 * instructions before that point and none after it, on any machine, so a word that must be stored before its writer
 * *acts* needs no fence but this one: it keeps the compiler from moving the act's stores above it. */
static inline void fence_compiler(void) { atomic_signal_fence(memory_order_seq_cst); }

#endif
