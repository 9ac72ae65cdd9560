"""Reads streams of Redis so that each entry is taken account of once: what the collectors of streams share."""
