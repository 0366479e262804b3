"""Settings on their way to the processes of transceiverd: one unnamed file, given to all of them at once."""

import os

from transceiverd.settings import load_settings, read_settings, settings_in_memory


def test_settings_one_process_reads_them_whatever_the_others_do_to_the_position_they_share() -> None:
    """Descriptors sent over a socket share one open file, and so one position. Of two processes that both went to its
    start and read, one could find the settings twice, or nothing: it missed the reload, and a revoked token stayed."""
    settings = load_settings(None)
    sent = settings_in_memory(settings)
    for position in (0, 7, 1 << 20):
        os.lseek(sent, position, os.SEEK_SET)
        received = os.dup(sent)
        assert read_settings(received) == settings
        assert os.lseek(sent, 0, os.SEEK_CUR) == position, "another reader may be in the middle of it"
    os.close(sent)
