"""What both daemons are made of, besides the memory they share: configuration, lock, event loop, children, logs.

Here and not in `relayd` because the two daemons may import nothing of each other but the ufrag codec and the header
parser (DESIGN 4), and because most of it keeps the promises of shared memory: one lock and one writer a segment
(DESIGN 2.8), children that die with their supervisor, a successor only after its predecessor is reaped.
"""
