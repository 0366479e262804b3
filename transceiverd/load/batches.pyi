"""Types of transceiverd/load/batches.pyx: nothing for Python."""
