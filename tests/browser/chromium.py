"""Headless Chromium for the tests: its arguments, and the sound of its microphone."""

import math
import struct
import wave
from pathlib import Path

EXECUTABLE = Path("/usr/bin/chromium")
ARGUMENTS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
]
MICROPHONE_HERTZ = 660
SAMPLE_RATE = 48_000
AMPLITUDE = 12_000
# On and off, because a browser's noise suppression takes a steady tone for a fan and removes it.
ON_SAMPLES = SAMPLE_RATE * 6 // 10
PERIOD_SAMPLES = SAMPLE_RATE


def arguments(microphone: Path) -> list[str]:
    """Arguments for a browser whose microphone hears the file, over and over."""
    return [*ARGUMENTS, f"--use-file-for-fake-audio-capture={microphone}"]


def write_microphone(path: Path) -> None:
    """One second: a tone of `MICROPHONE_HERTZ` that is interrupted."""
    turn = 2 * math.pi * MICROPHONE_HERTZ / SAMPLE_RATE
    samples = [round(AMPLITUDE * math.sin(turn * n)) if n < ON_SAMPLES else 0 for n in range(PERIOD_SAMPLES)]
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(struct.pack(f"<{PERIOD_SAMPLES}h", *samples))
