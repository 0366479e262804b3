"""Types of transceiverd/load/stream.pyx: nothing for Python."""
