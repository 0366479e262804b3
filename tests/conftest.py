"""For every test: SIGINT as a terminal has it. A shell that runs the tests in the background has its children ignore
it, and theirs; what a person's Ctrl-C does could not be tested then.
"""

import signal

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
