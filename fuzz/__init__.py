"""Anything thrown at every parser and at whole calls, and what must hold. Never installed; README.md says how to run it."""
