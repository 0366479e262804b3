"""Tests of transceiverd/media. The pieces that every test builds on stand in world.py."""
