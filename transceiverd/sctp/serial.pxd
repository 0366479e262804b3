# cython: language_level=3

cpdef long long unwrap32(long long value, long long near) noexcept  # nearest integer with these low 32 bits
cpdef long long unwrap16(long long value, long long near) noexcept  # nearest integer with these low 16 bits
