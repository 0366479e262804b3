"""What a message and a look-up cost in shared memory, without any socket (issue 3, item 4)."""
