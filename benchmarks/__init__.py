"""The load lab: what a delivery costs, in the course's chat, in other servers and at the limit.

`python -m benchmarks` measures; `benchmarks.peers` lists the servers.
"""
