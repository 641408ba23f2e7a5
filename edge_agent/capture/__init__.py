"""The capture worker: reads all cameras of a box in a process of its own, since what they send kills decoders.

`python -m edge_agent.capture` is that process (`__main__`); `watch` is one camera's thread; `rtsp`, `http`, `v4l2` and
`clip` are the ways to get a picture; `freshness` proves its age; `probe` asks a silent camera why; `pipe` is all that
the process and its supervisor (edge_agent/cameras.py) say to each other. Design and measurements: docs/design/cameras.md.
"""
