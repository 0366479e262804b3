# cython: language_level=3
from libc.stdint cimport uint32_t

cpdef uint32_t crc32c(bytes data)             # of any bytes
cpdef uint32_t packet_checksum(bytes packet)  # of an SCTP packet, its checksum field taken as zero
