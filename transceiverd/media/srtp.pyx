# cython: language_level=3
"""SRTP and SRTCP (RFC 3711, RFC 7714) by the libsrtp 2.7 that pylibsrtp carries, called natively (FACTS 3).

Owns: the function pointers (`srtp`, taken once from pylibsrtp's own shared object, so that both work on the same
library state), and `SrtpContext`, one direction of one call. The control thread makes and destroys contexts, the media
thread uses them through `SrtpContext.context`; never both at once (port.py).

A context is a cache of `struct session`: all that decides over indexes stands there. libsrtp is *told* the rollover
counter of every packet (`srtp_set_stream_roc`) instead of guessing it, so a rebuilt context goes on exactly where the
struct is. Only the SRTCP index cannot be set; it is brought forward by protecting empty packets whose bytes are wiped
and never leave (`advance`): 0.25-0.5 microseconds each, one for every report sent so far, so 0.3 ms for an hour-long
call.

Left out: MKI, header extension encryption, more than one master key.
"""
import ctypes

from pylibsrtp import Policy, _binding

from libc.string cimport memset

PROFILES = {
    0x0001: (Policy.SRTP_PROFILE_AES128_CM_SHA1_80, 16, 14),  # key and salt, bytes
    0x0007: (Policy.SRTP_PROFILE_AEAD_AES_128_GCM, 16, 12),
    0x0008: (Policy.SRTP_PROFILE_AEAD_AES_256_GCM, 32, 12),
}
# libsrtp's own window. Ours (replay.pxd) decides and is narrower; this one must never refuse what ours lets through.
WINDOW_SIZE = 1024
PACKET_SIZE_MAX = 2048


cdef packet_function _packet_function(library, name):
    return <packet_function><size_t>ctypes.cast(getattr(library, name), ctypes.c_void_p).value


cdef _load():
    library = ctypes.CDLL(_binding.__file__)
    srtp.protect = _packet_function(library, "srtp_protect")
    srtp.unprotect = _packet_function(library, "srtp_unprotect")
    srtp.protect_rtcp = _packet_function(library, "srtp_protect_rtcp")
    srtp.unprotect_rtcp = _packet_function(library, "srtp_unprotect_rtcp")
    srtp.set_stream_roc = <rollover_function><size_t>ctypes.cast(library.srtp_set_stream_roc, ctypes.c_void_p).value
    srtp.create = <create_function><size_t>ctypes.cast(library.srtp_create, ctypes.c_void_p).value
    srtp.add_stream = <stream_function><size_t>ctypes.cast(library.srtp_add_stream, ctypes.c_void_p).value
    srtp.dealloc = <dealloc_function><size_t>ctypes.cast(library.srtp_dealloc, ctypes.c_void_p).value


_load()


# One for each profile, filled in for each context: a new one costs five times what libsrtp's own work does. The control
# thread's alone.
_policies = {}


def _policy(number, size):
    policy = _policies.get(number)
    if policy is None:
        policy = _policies[number] = Policy(key=bytes(size), srtp_profile=number)
        policy.window_size = WINDOW_SIZE
    return policy


cdef int tag_size(uint16_t profile) noexcept nogil:
    if profile == 0x0007 or profile == 0x0008:
        return 16
    return 10 if profile == 0x0001 else 0


cdef class SrtpContext:
    """One direction of a call's SRTP and SRTCP.

    `ssrc`: ours, for the sending direction; None: receive whatever the client's SSRCs are. `streams`: client SSRCs
    that need a stream of their own because their rollover counter may not be 0 any more (after a rebuild). Raises
    ValueError for an unknown profile or a key that is not as long as it must be.
    """

    def __init__(self, profile, key, salt, ssrc=None, streams=()):
        if profile not in PROFILES:
            raise ValueError(f"SRTP profile {profile:#06x} is not one of {[hex(p) for p in PROFILES]}")
        number, key_size, salt_size = PROFILES[profile]
        if len(key) != key_size or len(salt) != salt_size:
            raise ValueError(f"SRTP profile {profile:#06x} needs {key_size} + {salt_size} bytes of key and salt")
        self.profile = profile
        self.ssrc = ssrc or 0
        self.streams = tuple(streams)
        policy = _policy(number, key_size + salt_size)
        place = policy.key
        place[:key_size], place[key_size:] = bytes(key), bytes(salt)
        try:
            self._make(policy, ssrc)
        finally:
            place[:] = bytes(len(place))

    def _make(self, policy, ssrc):
        cdef void *told = <void *><size_t>int(_binding.ffi.cast("uintptr_t", policy._policy))
        policy.ssrc_type = Policy.SSRC_ANY_INBOUND if ssrc is None else Policy.SSRC_SPECIFIC
        policy.ssrc_value = self.ssrc
        if srtp.create(&self.context, told) != SRTP_OK:
            self.context = NULL
            raise ValueError("libsrtp makes no context")
        policy.ssrc_type = Policy.SSRC_SPECIFIC
        for other in self.streams:
            policy.ssrc_value = other
            if srtp.add_stream(self.context, told) != SRTP_OK:
                raise ValueError("libsrtp takes no stream more")

    def __dealloc__(self):
        if self.context != NULL:
            srtp.dealloc(self.context)

    cdef int advance(self, uint64_t rtcp_index) except -1:
        cdef unsigned char packet[64]
        cdef int size
        while self.rtcp_index < rtcp_index:
            memset(packet, 0, sizeof(packet))
            packet[0] = 0x80
            packet[1] = 201
            packet[3] = 1
            packet[4] = self.ssrc >> 24
            packet[5] = (self.ssrc >> 16) & 0xFF
            packet[6] = (self.ssrc >> 8) & 0xFF
            packet[7] = self.ssrc & 0xFF
            size = 8
            if srtp.protect_rtcp(self.context, packet, &size) != SRTP_OK:
                raise ValueError("SRTCP index space is used up")
            self.rtcp_index += 1
        memset(packet, 0, sizeof(packet))
        return 0

    def advance_rtcp(self, rtcp_index):
        """Make `rtcp_index` the highest SRTCP index that this context has used."""
        self.advance(rtcp_index)

    def set_rollover(self, ssrc, rollover):
        """Tell libsrtp the rollover counter of the next packet of `ssrc`. False: it knows no such stream."""
        return srtp.set_stream_roc(self.context, ssrc, rollover) == SRTP_OK

    def protect(self, packet):
        """RTP to SRTP. ValueError: libsrtp's status."""
        return _apply(srtp.protect, self.context, packet)

    def unprotect(self, packet):
        """SRTP to RTP. ValueError: libsrtp's status."""
        return _apply(srtp.unprotect, self.context, packet)

    def protect_rtcp(self, packet):
        """RTCP to SRTCP. ValueError: libsrtp's status."""
        protected = _apply(srtp.protect_rtcp, self.context, packet)
        self.rtcp_index += 1
        return protected

    def unprotect_rtcp(self, packet):
        """SRTCP to RTCP. ValueError: libsrtp's status."""
        return _apply(srtp.unprotect_rtcp, self.context, packet)


cdef _apply(packet_function function, void *context, packet):
    cdef unsigned char buffer[2048 + 64]
    cdef int size = len(packet)
    if size > PACKET_SIZE_MAX:
        raise ValueError("packet is too long")
    buffer[:size] = packet
    cdef int status = function(context, buffer, &size)
    if status != SRTP_OK:
        raise ValueError(f"libsrtp status {status}")
    return bytes(buffer[:size])
