"""What the agent decides: pure, without IO, threads, clocks or third-party packages."""
