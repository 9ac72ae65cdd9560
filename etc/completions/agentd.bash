# Completion of agentd's commands and options in bash. The program itself writes the script, when it is first asked for.
source <(agentd completion bash)
