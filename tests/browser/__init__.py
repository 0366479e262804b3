"""The call page in headless Chromium, against the real daemons: calls, failures, looks."""
