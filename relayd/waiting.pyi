"""relayd/waiting.pyx has nothing for Python: it is cimported by relayd/worker.pyx."""
