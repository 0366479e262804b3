"""Ringline as it is installed: the units by themselves, and everything under a real systemd."""
