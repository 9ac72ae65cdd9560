"""For people who write plugins: what it takes to try one on a real agent."""
