"""The second flow: events, each of which matters, on their way to where they belong."""
