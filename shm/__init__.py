"""What two Ringline processes share: segments, rings, doorbells, the flow table, session records and counters.

Imports nothing else of the project. `layout.h` fixes every byte, `atomics.h` every atomic access, README.md argues why
that is enough; `daemon/` is what both daemons are made of besides.
"""
