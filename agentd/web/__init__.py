"""The web server: one catch-all that resolves paths in a table which can be replaced while it serves."""
