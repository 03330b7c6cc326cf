"""ECS Exec as the service and its agent have it: a websocket that leads to a command on a terminal in a container.

`messages` are the frames, `words` how a command becomes one, `terminal` runs it, `agent` keeps order and repeats what
was not acknowledged, `channel` lets clients in. What is said of the agent is in its public source:
https://github.com/aws/amazon-ssm-agent (agent/session).
"""
