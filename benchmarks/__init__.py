"""Benchmarks: processor time of the client on recorded responses, compared with others."""
