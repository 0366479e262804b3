# cython: language_level=3, cdivision=True
"""On which CPU the media thread runs: on that of the relay worker that its packets come from, while there is one.

Called by the media thread itself (engine.pyx), between two turns. Why: a packet wakes this thread, and its echo wakes
the worker. Between two CPUs each of these is an interrupt, and often the end of a deep sleep; on one CPU it is a change
of context, four times cheaper and faster (bench/README.md, "Where it runs"). At light load relayd gives all packets to one
worker (relayd/steering.py) and each worker says in its lanes which CPU it is pinned to (doorbell_word.home).

The rule, every LOOK_NS: fifteen of sixteen packets came from workers on one CPU, and this thread is idle enough to share
it: go there. Else, or once it is too busy: run anywhere again. Few packets say nothing, and change nothing. What a
worker says of its CPU is believed only as far as the kernel lets us go there: a refusal ends the following for good.

Left out: `transceiver.media_cpus` (whoever starts the thread pins it; then nothing is followed).
"""
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from shm.doorbell cimport doorbell_home
from shm.layout cimport doorbell_word
from transceiverd.media.state cimport lane_end

cdef extern from "<sched.h>" nogil:
    int sched_getaffinity(int pid, size_t size, cpu_set_t *cpus)
    int sched_setaffinity(int pid, size_t size, const cpu_set_t *cpus)
    void CPU_ZERO(cpu_set_t *cpus)
    void CPU_SET(int cpu, cpu_set_t *cpus)
    int CPU_SETSIZE

cdef enum:
    PACKETS_MIN = 5              # of a look: one call brings as many
    # Percent of the time that we are awake: up to JOIN we go to a worker's CPU, beyond LEAVE we leave it. A worker there
    # may be as busy as `relay.spread_above_percent` says; together they must fit on one CPU.
    JOIN = 30
    LEAVE = 45


cdef void placement_begin(placement *p, bint follows) noexcept nogil:
    memset(p, 0, sizeof(placement))
    p.follows = follows and sched_getaffinity(0, sizeof(cpu_set_t), &p.everywhere) == 0


cdef int placement_choose(placement *p, media_thread *m, uint64_t elapsed_ns) noexcept nogil:
    cdef uint32_t i, best = 0
    cdef uint64_t total = 0, there = 0, awake
    for i in range(m.lane_count):
        total += _news(&m.lanes[i])
        if _news(&m.lanes[i]) > _news(&m.lanes[best]):
            best = i
    awake = 100 - 100 * min(p.asleep_ns, elapsed_ns) // elapsed_ns if elapsed_ns else 100
    if p.home and awake > LEAVE:
        return 0
    if total < PACKETS_MIN or (not p.home and awake > JOIN):
        return p.home
    for i in range(m.lane_count):
        if doorbell_home(&m.lanes[i].worker) == doorbell_home(&m.lanes[best].worker):
            there += _news(&m.lanes[i])
    return <int>doorbell_home(&m.lanes[best].worker) if there * 16 >= total * 15 else 0


cdef inline uint64_t _news(const lane_end *lane) noexcept nogil:
    return lane.served - lane.served_before


cdef void placement_look(placement *p, media_thread *m, uint64_t now) noexcept nogil:
    cdef uint32_t i
    cdef int home
    if not p.follows:
        return
    home = placement_choose(p, m, now - p.looked_ns)
    for i in range(m.lane_count):
        m.lanes[i].served_before = m.lanes[i].served
    p.looked_ns, p.asleep_ns = now, 0
    if home != p.home:
        _go(p, home)


cdef void _go(placement *p, int home) noexcept nogil:
    cdef cpu_set_t cpus = p.everywhere
    if 0 < home <= CPU_SETSIZE:
        CPU_ZERO(&cpus)
        CPU_SET(home - 1, &cpus)
    if sched_setaffinity(0, sizeof(cpu_set_t), &cpus) < 0:
        p.follows = False  # a sandbox, or a CPU that is not ours: stay where we are
    p.home = home


def choose(home, lanes, asleep_ns, elapsed_ns):
    """What `placement_look` would choose: `lanes` are (1 + the worker's CPU or 0, packets since the last look)."""
    cdef placement p
    cdef media_thread m
    cdef doorbell_word *words = <doorbell_word *>calloc(len(lanes) or 1, sizeof(doorbell_word))
    memset(&p, 0, sizeof(p))
    memset(&m, 0, sizeof(m))
    m.lanes = <lane_end *>calloc(len(lanes) or 1, sizeof(lane_end))
    m.lane_count = len(lanes)
    p.home, p.asleep_ns = home, asleep_ns
    for i, (cpu, packets) in enumerate(lanes):
        words[i].home = cpu
        m.lanes[i].worker.word = &words[i]
        m.lanes[i].served = packets
    try:
        return placement_choose(&p, &m, elapsed_ns)
    finally:
        free(m.lanes)
        free(words)
