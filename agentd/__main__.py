"""Run the command line as ``python -m agentd``."""

from agentd.cli import main

if __name__ == "__main__":
    main()
