"""What is on disk: one SQLite database in the state directory, and its one writer."""
