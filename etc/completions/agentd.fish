# Completion of agentd's commands and options in fish. The program itself writes the script, when it is first asked for.
agentd completion fish | source
