# cython: language_level=3
"""The atomic accesses of `atomics.h` for Cython; the argument for each, and its partner, stands there.

Owned by shm/. Words are passed by address: `load_acquire_u64(&header.tail)`.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t


cdef extern from "shm/atomics.h" nogil:
    uint64_t load_acquire_u64(const uint64_t *word) noexcept
    uint32_t load_acquire_u32(const uint32_t *word) noexcept
    void store_release_u64(uint64_t *word, uint64_t value) noexcept
    void store_release_u32(uint32_t *word, uint32_t value) noexcept
    uint64_t load_relaxed_u64(const uint64_t *word) noexcept
    uint32_t load_relaxed_u32(const uint32_t *word) noexcept
    uint16_t load_relaxed_u16(const uint16_t *word) noexcept
    uint8_t load_relaxed_u8(const uint8_t *word) noexcept
    void store_relaxed_u64(uint64_t *word, uint64_t value) noexcept
    void store_relaxed_u32(uint32_t *word, uint32_t value) noexcept
    void add_relaxed_u64(uint64_t *word, uint64_t n) noexcept
    void fence_full() noexcept
    void fence_acquire() noexcept
    void fence_release() noexcept
    void fence_compiler() noexcept
    # A place where a test build may kill the process; nothing in the product.
    void fault_point "RINGLINE_FAULT_POINT"() noexcept
