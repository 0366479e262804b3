# cython: language_level=3
# What a media thread counts, in the order of its counter segment. Described in outcomes.pyx, which makes the names of
# these: RECEIVED is "received". One list, so that a number and its name cannot part.

cpdef enum counter_place:
    # ---- in: received = the sum of the outcomes + (early_kept - early_released), at every end of a batch
    RECEIVED = 0                  # records taken from media rings
    # Outcomes of a record: each ends in exactly one.
    ECHOED                        # RTP that went back
    ABSORBED                      # authentic RTP of a call whose application is not echo
    RTCP_PROCESSED                # authentic, well-formed RTCP
    DROPPED_TYPE                  # neither RTP nor RTCP, or larger than a datagram that we take
    DROPPED_STALE                 # another incarnation, a slot that is not there, or another generation
    DROPPED_NOT_INSTALLED         # no keys, and the call is not one whose early packets are kept
    DROPPED_EARLY_OVER_BOUND      # SRTP before its keys: over the packets a call, or the calls, that are kept
    DROPPED_EARLY_EXPIRED         # kept, and the keys did not come in time
    DROPPED_RTP_MALFORMED
    DROPPED_RTCP_MALFORMED
    DROPPED_REPLAYED              # its index was seen
    DROPPED_TOO_OLD               # its index lies before the replay window
    DROPPED_AUTHENTICATION        # the tag is wrong
    DROPPED_STREAMS_FULL          # one SSRC more than a call may have
    DROPPED_PAYLOAD_TYPE          # not one that the answer accepted
    DROPPED_STALE_MAPPING         # late packet of a mapping before the last SSRC change
    DROPPED_CONSENT               # consent ran out, or the call is closing: nothing is sent
    DROPPED_NO_ADDRESS            # no proven address to send to
    DROPPED_RING_FULL             # the ring to the worker was full
    DROPPED_PROTECT               # libsrtp refused, or a key is used up
    # ---- beside the outcomes
    EARLY_KEPT                    # put aside until the keys come ...
    EARLY_RELEASED                # ... and since then booked under an outcome
    REPORTS_SENT                  # RTCP compounds put into a ring to a worker; BYEs are apart
    REPORTS_DROPPED               # no proven address, ring full, or SRTCP index used up
    BYES_SENT                     # handed to control with REMOVED, which sends them
    ADDRESSES_PROVEN              # events: an address was proven by SRTP or SRTCP
    EVENTS_FULL                   # the event ring was full: said again with the next packet
    REMAPPED                      # the echo was re-based onto another SSRC
    INSTALLED
    REMOVED
    REBUILT
    COMMANDS_REFUSED              # an install or rebuild that does not fit the slot's state
    TURNS                         # turns that found work
    DOORBELLS                     # workers and control rung
    SLEEPS                        # waits for the doorbell
    LOST_WAKEUPS                  # a sleep ran to its end although work was there: an alarm, should stay 0
    COUNTERS                      # how many counters: not one itself


cdef enum:
    OUTCOMES_FIRST = 1            # ECHOED
    OUTCOMES_LAST = 20            # DROPPED_PROTECT; a test holds both to the names
    OUTCOME_KEPT = -1             # not booked yet: an early packet
