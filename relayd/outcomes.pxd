# cython: language_level=3
# What a worker counts, in the order of its counter segment. Described in outcomes.pyx, which makes the names of these:
# RECEIVED is "received". One list, so that a number and its name cannot part.
from libc.stdint cimport uint64_t

cpdef enum counter_place:
    # ---- in: received = the sum of the outcomes, at every end of a batch and after every restart
    RECEIVED = 0                       # datagrams that recvmmsg gave us
    # Outcomes of a received datagram: each ends in exactly one.
    FORWARDED_STUN                     # Binding requests put into a handshake ring
    FORWARDED_DTLS
    FORWARDED_RTP
    FORWARDED_RTCP
    DROPPED_TRUNCATED                  # longer than a receive buffer
    DROPPED_NO_DESTINATION             # the kernel did not say which address it came to
    DROPPED_SOURCE                     # port 0, or an IPv4-mapped source on the IPv6 socket: nobody to answer
    DROPPED_EMPTY                      # from here on: minus the places of headers.REASONS, in their order
    DROPPED_UNKNOWN_KIND
    DROPPED_TOO_SHORT
    DROPPED_STUN_COOKIE
    DROPPED_STUN_LENGTH
    DROPPED_STUN_METHOD
    DROPPED_STUN_RESPONSE
    DROPPED_STUN_INDICATION
    DROPPED_STUN_ATTRIBUTE
    DROPPED_STUN_WITHOUT_USERNAME
    DROPPED_STUN_USERNAME_FORM
    DROPPED_UFRAG_CHARACTER            # from here on: minus the places of keyring.REASONS, in their order
    DROPPED_UFRAG_VERSION
    DROPPED_UFRAG_KEY
    DROPPED_UFRAG_TAG
    DROPPED_UNKNOWN_MACHINE            # the ufrag verifies, and names another machine than ours
    DROPPED_NO_TRANSCEIVER             # the ufrag names a transceiver that has no lane, or is dead
    DROPPED_CHECKS_OF_FLOW             # from here on: gate_verdict of check_gate.pxd, less 1; a call's own addresses
    DROPPED_CHECKS_OF_SLOT             # a call's checks from new addresses
    DROPPED_CHECKS_OF_ALL              # all calls' checks from new addresses
    DROPPED_NO_FLOW                    # DTLS, RTP or RTCP from an address that passed no check
    DROPPED_OWNER_GONE                 # the flow's owner is dead or detached, and nobody contends for it
    DROPPED_HANDSHAKE_RING_FULL
    DROPPED_MEDIA_RING_FULL
    LOST_IN_RESTART                    # received by a predecessor that died before it booked an outcome
    # Beside the outcomes.
    LOST_BOUND                         # at most so many more were taken from the kernel by a dying predecessor
    KERNEL_DROPPED_V4                  # never received: the socket's buffer was full (SO_RXQ_OVFL), v4 socket
    KERNEL_DROPPED_V6                  # likewise, v6 socket
    CONTENDED                          # forwarded from an address in dispute
    CONTENDED_COPY_LOST                # of these, one of the two copies found its ring full
    RECEIVE_ERROR                      # recvmmsg failed, other than for want of datagrams
    RECEIVE_CALLS                      # recvmmsg calls
    # ---- out: out_records = the sum of the out outcomes, likewise
    OUT_RECORDS                        # records taken from control and media rings
    # Out outcomes: each record ends in exactly one.
    OUT_SENT_CONTROL
    OUT_SENT_MEDIA
    OUT_PUBLISHED                      # PUBLISH that took effect
    OUT_PUBLISH_REFUSED                # PUBLISH or PUBLISH_AND_SEND that did not: nothing was sent
    OUT_WITHDRAWN
    OUT_WITHDRAW_IGNORED               # the flow was not the record's call's, or was not there
    OUT_REFUSED_TYPE                   # a record type that does not belong into this ring
    OUT_REFUSED_INCARNATION            # written by a transceiver process that is no more
    OUT_REFUSED_TIMING                 # not_before, drop_after or segment_size: not built
    OUT_REFUSED_ADDRESS                # not UDP, families mixed, another port than ours, no such socket
    OUT_REFUSED_SIZE                   # nothing to send, or more than a datagram holds
    OUT_REFUSED_OWNER                  # the address is not this call's (DESIGN 2.4)
    OUT_BLOCKED                        # the send buffer stayed full for the whole wait
    OUT_ERROR_ACCES                    # sendmmsg said so of this one datagram; the rest of its batch went on
    OUT_ERROR_PERM
    OUT_ERROR_INVAL
    OUT_ERROR_MSGSIZE
    OUT_ERROR_ADDRNOTAVAIL
    OUT_ERROR_NETUNREACH
    OUT_ERROR_HOSTUNREACH
    OUT_ERROR_NOBUFS
    OUT_ERROR_OTHER
    OUT_IN_DOUBT_IN_RESTART            # taken by a predecessor that died before it booked an outcome: sent or not
    # Beside the out outcomes: what became of publishes (shm/flows.pxd, enum flow_outcome).
    PUBLISH_APPLIED
    PUBLISH_REFRESHED
    PUBLISH_REPLACED_DEAD
    PUBLISH_CONTENDING
    PUBLISH_CONTENDER_WON
    PUBLISH_CONTENDER_DROPPED
    PUBLISH_REFUSED_CONTENDED
    PUBLISH_REFUSED_FULL
    PUBLISH_STALE
    PUBLISH_REFUSED_MALFORMED
    SEND_CALLS                         # sendmmsg calls
    SEND_WAITS                         # waits for room in a send buffer
    # ---- the loop
    DOORBELLS                          # consumers rung, once a batch at most
    SLEEPS                             # epoll_wait with a timeout
    ASLEEP_NS                          # nanoseconds of these waits; the rest of the time it was busy, or had no CPU
    LOST_WAKEUPS                       # a sleep ran to its end although work was there: an alarm, should stay 0
    COUNTERS                           # how many counters: not one itself


# What a batch counts before it is booked: COUNTERS numbers, private to the worker.
cdef inline void tally_add(uint64_t *tally, int place, uint64_t n) noexcept nogil:
    tally[place] += n
