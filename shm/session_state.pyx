# cython: language_level=3, boundscheck=False, wraparound=False
"""DTLS record state, SRTP keys, media state of one call; session_state.pxd says what the views are (DESIGN 2.13).

Called by the DTLS engine's record layer, by the session that installs keys, and by status. Each attribute is stored
with one atomic store as soon as it is assigned; what must not be seen apart is a method of its own (`install`,
`advance_read`). Left out: SRTP and RTP state, which the media thread writes natively.
"""
cimport cython
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from shm import layout

from shm.atomics cimport (
    fence_release,
    load_relaxed_u32,
    load_relaxed_u64,
    store_relaxed_u32,
    store_relaxed_u64,
    store_release_u64,
)
from shm.layout cimport session, session_dtls, session_srtp_keys

# IANA cipher suite -> bytes of key and of the implicit part of the nonce (RFC 5288 3, RFC 7905 2, RFC 8446 5.3).
CIPHER_LENGTHS = {
    0xC02B: (16, 4),  # ECDHE-ECDSA-AES128-GCM-SHA256
    0xC02C: (32, 4),  # ECDHE-ECDSA-AES256-GCM-SHA384
    0xC02F: (16, 4),  # ECDHE-RSA-AES128-GCM-SHA256
    0xC030: (32, 4),  # ECDHE-RSA-AES256-GCM-SHA384
    0xCCA8: (32, 12),  # ECDHE-RSA-CHACHA20-POLY1305-SHA256
    0xCCA9: (32, 12),  # ECDHE-ECDSA-CHACHA20-POLY1305-SHA256
    0x1301: (16, 12),  # TLS_AES_128_GCM_SHA256
    0x1302: (32, 12),  # TLS_AES_256_GCM_SHA384
    0x1303: (32, 12),  # TLS_CHACHA20_POLY1305_SHA256
}

# DTLS-SRTP protection profile -> bytes of key and salt (RFC 5764 4.1.2, RFC 7714 14.2).
PROFILE_LENGTHS = {0x0001: (16, 14), 0x0002: (16, 14), 0x0007: (16, 12), 0x0008: (32, 12)}

KEY_MAX = 32  # bytes of a key's field
IV_MAX = 12  # bytes of a DTLS nonce's field
SALT_MAX = 16  # bytes of an SRTP salt's field


cdef inline uint64_t part(uint64_t word, int shift, int bits) noexcept nogil:
    return (word >> shift) & ((<uint64_t>1 << bits) - 1)


cdef inline void set_part(uint64_t *word, int shift, int bits, uint64_t value) noexcept nogil:
    """Fields narrower than 4 bytes share an aligned word with others of the same writer and are stored through it."""
    cdef uint64_t mask = ((<uint64_t>1 << bits) - 1) << shift
    store_relaxed_u64(word, (load_relaxed_u64(word) & ~mask) | ((value << shift) & mask))


cdef int store_bytes(uint8_t *place, value, int room) except -1:
    """Zero-padded to the field's size, a word at a time; field and size are multiples of 4."""
    cdef uint32_t words[8]
    cdef bytes data = bytes(value)
    cdef int i
    if len(data) > room:
        raise ValueError(f"{len(data)} bytes for a field of {room}")
    memset(words, 0, sizeof(words))
    memcpy(words, <const char *>data, len(data))
    for i in range(room // 4):
        store_relaxed_u32(<uint32_t *>place + i, words[i])
    return 0


cdef bytes load_bytes(const uint8_t *place, int length):
    return (<const char *>place)[:length]


# ---------------------------------------------------------------------------------------------- DTLS

# Places in the first word of session_dtls: version, cipher suite, role, closed, write epoch.
cdef enum:
    VERSION = 0
    CIPHER_SUITE = 16
    ROLE = 32
    CLOSED = 40
    WRITE_EPOCH = 48


@cython.final
@cython.no_gc
cdef class DtlsState:
    """The record layer's state (RFC 6347 4.1). `version` 0: there are no keys. Only the control thread writes."""

    def __init__(self):
        raise TypeError("made by SessionRecord.dtls")

    @staticmethod
    cdef DtlsState over(session *call, object owner):
        cdef DtlsState made = DtlsState.__new__(DtlsState)
        made.state = &call.dtls
        made.owner = owner
        return made

    cdef uint64_t *_head(self) noexcept:
        return <uint64_t *>self.state

    @property
    def version(self):
        """0xfefd: DTLS 1.2; 0xfefc: 1.3."""
        return part(self._head()[0], VERSION, 16)

    @version.setter
    def version(self, uint16_t value):
        set_part(self._head(), VERSION, 16, value)

    @property
    def cipher_suite(self):
        """IANA number."""
        return part(self._head()[0], CIPHER_SUITE, 16)

    @cipher_suite.setter
    def cipher_suite(self, uint16_t value):
        set_part(self._head(), CIPHER_SUITE, 16, value)

    @property
    def role(self):
        """1 client, 2 server."""
        return part(self._head()[0], ROLE, 8)

    @role.setter
    def role(self, uint8_t value):
        set_part(self._head(), ROLE, 8, value)

    @property
    def closed(self):
        """close_notify or a fatal alert was sent or authenticated."""
        return bool(part(self._head()[0], CLOSED, 8))

    @closed.setter
    def closed(self, value):
        set_part(self._head(), CLOSED, 8, 1 if value else 0)

    @property
    def write_epoch(self):
        return part(self._head()[0], WRITE_EPOCH, 16)

    @write_epoch.setter
    def write_epoch(self, uint16_t value):
        set_part(self._head(), WRITE_EPOCH, 16, value)

    @property
    def read_epoch(self):
        return part(self._head()[1], 0, 16)

    @read_epoch.setter
    def read_epoch(self, uint16_t value):
        set_part(self._head() + 1, 0, 16, value)

    @property
    def write_sequence(self):
        """Next to use. Assign the number after a record's before that record is queued (DESIGN 2.13)."""
        return load_relaxed_u64(&self.state.write_sequence)

    @write_sequence.setter
    def write_sequence(self, uint64_t value):
        store_relaxed_u64(&self.state.write_sequence, value)

    @property
    def read_highest(self):
        """Highest authenticated sequence number + 1; 0: none."""
        return load_relaxed_u64(&self.state.read_highest)

    @read_highest.setter
    def read_highest(self, uint64_t value):
        store_relaxed_u64(&self.state.read_highest, value)

    @property
    def read_window(self):
        """Bit i: read_highest - 1 - i was seen."""
        return load_relaxed_u64(&self.state.read_window)

    @read_window.setter
    def read_window(self, uint64_t value):
        store_relaxed_u64(&self.state.read_window, value)

    def advance_read(self, uint64_t highest, uint64_t window):
        """Both words of the replay window so that a death in between can only make it stricter: until the last store
        the window says that everything was seen."""
        if highest != self.state.read_highest:
            store_release_u64(&self.state.read_window, 0xffffffffffffffffULL)
            store_release_u64(&self.state.read_highest, highest)
        store_release_u64(&self.state.read_window, window)

    @property
    def write_key(self):
        return load_bytes(self.state.write_key, self._lengths()[0])

    @write_key.setter
    def write_key(self, value):
        store_bytes(self.state.write_key, value, KEY_MAX)

    @property
    def read_key(self):
        return load_bytes(self.state.read_key, self._lengths()[0])

    @read_key.setter
    def read_key(self, value):
        store_bytes(self.state.read_key, value, KEY_MAX)

    @property
    def write_iv(self):
        """The implicit part of the nonce."""
        return load_bytes(self.state.write_iv, self._lengths()[1])

    @write_iv.setter
    def write_iv(self, value):
        store_bytes(self.state.write_iv, value, IV_MAX)

    @property
    def read_iv(self):
        return load_bytes(self.state.read_iv, self._lengths()[1])

    @read_iv.setter
    def read_iv(self, value):
        store_bytes(self.state.read_iv, value, IV_MAX)

    cdef tuple _lengths(self):
        """Exactly as long as used: by the suite; an unknown suite gives the whole fields."""
        return CIPHER_LENGTHS.get(self.cipher_suite, (KEY_MAX, IV_MAX))

    def install(self, *, version, cipher_suite, role, write_key, read_key, write_iv, read_iv, write_epoch=1,
                read_epoch=1, write_sequence=0, read_highest=0, read_window=0):
        """All that a finished handshake gives; `version` last, so that the keys are there whole or not at all."""
        self.version = 0
        fence_release()
        self.cipher_suite, self.role, self.closed = cipher_suite, role, False
        self.write_key, self.read_key, self.write_iv, self.read_iv = write_key, read_key, write_iv, read_iv
        self.write_epoch, self.read_epoch = write_epoch, read_epoch
        self.write_sequence = write_sequence
        self.advance_read(read_highest, read_window)
        fence_release()
        self.version = version


# ---------------------------------------------------------------------------------------------- SRTP

@cython.final
@cython.no_gc
cdef class SrtpKeys:
    """Master keys and salts from the DTLS exporter. Written once by control, before media is told of the call."""

    def __init__(self):
        raise TypeError("made by SessionRecord.srtp")

    @staticmethod
    cdef SrtpKeys over(session *call, object owner):
        cdef SrtpKeys made = SrtpKeys.__new__(SrtpKeys)
        made.keys = &call.srtp
        made.owner = owner
        return made

    @property
    def profile(self):
        """IANA DTLS-SRTP protection profile; 0: no keys."""
        return part((<uint64_t *>self.keys)[0], 0, 16)

    @profile.setter
    def profile(self, uint16_t value):
        set_part(<uint64_t *>self.keys, 0, 16, value)

    @property
    def local_key(self):
        return load_bytes(self.keys.local_key, self._lengths()[0])

    @local_key.setter
    def local_key(self, value):
        store_bytes(self.keys.local_key, value, KEY_MAX)

    @property
    def local_salt(self):
        return load_bytes(self.keys.local_salt, self._lengths()[1])

    @local_salt.setter
    def local_salt(self, value):
        store_bytes(self.keys.local_salt, value, SALT_MAX)

    @property
    def remote_key(self):
        return load_bytes(self.keys.remote_key, self._lengths()[0])

    @remote_key.setter
    def remote_key(self, value):
        store_bytes(self.keys.remote_key, value, KEY_MAX)

    @property
    def remote_salt(self):
        return load_bytes(self.keys.remote_salt, self._lengths()[1])

    @remote_salt.setter
    def remote_salt(self, value):
        store_bytes(self.keys.remote_salt, value, SALT_MAX)

    cdef tuple _lengths(self):
        return PROFILE_LENGTHS.get(self.profile, (KEY_MAX, SALT_MAX))

    def install(self, profile, local_key, local_salt, remote_key, remote_salt):
        """`profile` last, so that the keys are there whole or not at all."""
        self.profile = 0
        fence_release()
        self.local_key, self.local_salt = local_key, local_salt
        self.remote_key, self.remote_salt = remote_key, remote_salt
        fence_release()
        self.profile = profile


# ---------------------------------------------------------------------------------------------- media, read only

MEDIA_FIELDS = layout.STRUCTS["session_media"].fields
STREAM_FIELDS = layout.STRUCTS["session_stream"].fields


@cython.final
@cython.no_gc
cdef class MediaView:
    """What the media thread writes, by the names of layout.h; read only. Each word is read whole, several are not of
    one moment. Arrays come as tuples."""

    def __init__(self):
        raise TypeError("made by SessionRecord.media and .streams")

    @staticmethod
    cdef MediaView over(char *base, dict fields, object owner):
        cdef MediaView made = MediaView.__new__(MediaView)
        made.base = base
        made.fields = fields
        made.owner = owner
        return made

    def __getattr__(self, name):
        try:
            field = self.fields[name]
        except KeyError:
            raise AttributeError(f"no field {name!r}") from None
        if field.elements == 1:
            return self._load(field.offset, field.kind)
        step = field.size // field.elements
        return tuple(self._load(field.offset + i * step, field.kind) for i in range(field.elements))

    cdef object _load(self, int offset, str kind):
        if kind == "u32":
            return load_relaxed_u32(<uint32_t *>(self.base + offset))
        if kind == "i32":
            return <int32_t>load_relaxed_u32(<uint32_t *>(self.base + offset))
        if kind == "i64":
            return <int64_t>load_relaxed_u64(<uint64_t *>(self.base + offset))
        return load_relaxed_u64(<uint64_t *>(self.base + offset))

    def read(self):
        """All fields by name."""
        return {name: getattr(self, name) for name in self.fields}


SessionMedia = MediaView  # the names that the .pyi gives to the two uses
SessionStream = MediaView
