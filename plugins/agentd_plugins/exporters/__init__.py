"""How metrics leave the agent."""
