"""What the README tells people to copy is run here as it stands there: clients, and the configuration."""

import json
import re
import subprocess
import sys
import textwrap
import threading
import wave
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy
import pytest
from playwright.sync_api import expect, sync_playwright

from tests.browser.chromium import EXECUTABLE, MICROPHONE_HERTZ, arguments, write_microphone
from tests.daemons import Server, running, wait_for

README = (Path(__file__).parent.parent / "README.md").read_text()
ADDRESS = "http://127.0.0.1:8080"
SECONDS = 15_000  # ms, for what a person waits for


def fenced(language: str) -> str:
    """The README's one block of a language."""
    (block,) = re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    assert isinstance(block, str)
    return block


def here(block: str, server: Server) -> str:
    """The block with the test's port in place of the default one, which must stand in it."""
    assert ADDRESS in block
    return block.replace(ADDRESS, server.url)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """Both daemons, with the defaults that a reader has."""
    with running() as started:
        yield started


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    """Another origin than the server's, that serves tmp_path."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    handler.log_message = lambda *_: None  # type: ignore[attr-defined]
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{web.server_port}"
        web.shutdown()


def test_readme_browser_client(server: Server, site: str, tmp_path: Path) -> None:
    """From a page of another origin: connected, the message comes back, the caller hears himself."""
    (tmp_path / "index.html").write_text(here(fenced("html"), server))
    write_microphone(tmp_path / "microphone.wav")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=EXECUTABLE, args=arguments(tmp_path / "microphone.wav"))
        page = browser.new_page()
        complaints: list[str] = []
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(f"{site}/index.html")
        page.get_by_role("button", name="Call").click()
        expect(page.locator("#log")).to_contain_text("connected", timeout=SECONDS)
        expect(page.locator("#log")).to_contain_text("echo: hello", timeout=SECONDS)
        page.wait_for_function("document.getElementById('voice').currentTime > 1", timeout=SECONDS)
        assert server.sessions()
        page.goto("about:blank")
        browser.close()
    assert complaints == []


def test_readme_program(server: Server, tmp_path: Path) -> None:
    """The file that was said comes back: its tone is in what was recorded."""
    (tmp_path / "call.py").write_text(fenced("python"))
    write_microphone(tmp_path / "question.wav")
    command = [sys.executable, "call.py", server.calls_url, "question.wav", "answer.wav", "3"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    with wave.open(str(tmp_path / "answer.wav")) as file:
        samples = numpy.frombuffer(file.readframes(file.getnframes()), numpy.int16).astype(float)
        rate, channels = file.getframerate(), file.getnchannels()
    samples = samples[::channels]
    spectrum = numpy.abs(numpy.fft.rfft(samples))
    assert abs(numpy.argmax(spectrum) * rate / len(samples) - MICROPHONE_HERTZ) < 5


def test_readme_program_says_why(server: Server, tmp_path: Path) -> None:
    """A refusal ends the program with the server's words."""
    (tmp_path / "call.py").write_text(fenced("python"))
    write_microphone(tmp_path / "question.wav")
    command = [sys.executable, "call.py", f"{server.url}/v1/realtime/nothing", "question.wav", "answer.wav", "3"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "nothing" in done.stderr or "not" in done.stderr.lower(), done.stderr


def test_readme_curl(server: Server, tmp_path: Path) -> None:
    """An offer in, an answer out, the diagnosis of the call, its end."""
    (tmp_path / "offer.sdp").write_bytes(
        (Path(__file__).parent / "sdp" / "samples" / "chromium_156_audio_data.sdp").read_bytes()
    )
    script = here(fenced("sh"), server)
    done = subprocess.run(
        ["sh", "-eu", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "answer.sdp").read_text().startswith("v=0")
    diagnosis, _ = json.JSONDecoder().raw_decode(done.stdout)
    assert diagnosis["state"] == "new"
    assert diagnosis["phases"]["first_check"] is None
    wait_for(lambda: not server.sessions(), "the call was hung up")


def test_readme_configuration(tmp_path: Path) -> None:
    """Both daemons accept every configuration that the page shows."""
    blocks = re.findall(r"(?:^    .*\n)*^    \[\w+\]\n(?:^    .*\n)+", README, re.MULTILINE)
    assert blocks
    for block in blocks:
        (tmp_path / "ringline.toml").write_text(textwrap.dedent(block))
        for daemon in ("relayd", "transceiverd"):
            command = [sys.executable, "-m", f"{daemon}.main", "--config", str(tmp_path / "ringline.toml")]
            done = subprocess.run([*command, "--check-config"], capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
