"""The DTLS engine against itself, against OpenSSL and against aiortc, on simulated links and a fake clock."""
