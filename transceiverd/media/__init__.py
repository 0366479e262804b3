"""The media thread of a transceiver: SRTP, RTP, RTCP and the native echo. See README.md in this folder."""
