"""What is gathered."""
