"""Plugins in processes of their own, ``isolation = "process"``: what a child has and lacks is in docs/isolation.md."""
