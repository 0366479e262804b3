"""A process that may open no more."""

import contextlib
import os
import resource
from collections.abc import Iterator


@contextlib.contextmanager
def descriptors_left(count: int) -> Iterator[None]:
    """This process can have so many more descriptors, and not one beyond."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    probes = [os.dup(0) for _ in range(count)]  # the lowest free ones: the next would be the first that is refused
    following = os.dup(0)
    for descriptor in [*probes, following]:
        os.close(descriptor)
    resource.setrlimit(resource.RLIMIT_NOFILE, (following, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
