"""Tests of transceiverd/ice."""
