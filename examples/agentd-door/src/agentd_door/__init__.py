"""Plugins for agentd: the collector ``door`` and the sink ``logbook``."""
