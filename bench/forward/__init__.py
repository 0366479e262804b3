"""Forwarding side by side: the relay worker against bare C and Go (issue 3, item 1)."""
