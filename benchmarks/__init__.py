"""agentd beside its peers, in one run, in turn: `make bench`, or `python -m benchmarks NAME…`."""
