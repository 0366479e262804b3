"""Anything thrown at every parser and at whole calls, and what must hold. README.md says how. Never installed."""
