"""The load generator: a fleet of WebRTC clients made of our own engines in the client role (`relayctl load`)."""
