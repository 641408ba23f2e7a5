"""What every test gets: Hypothesis profiles, and sockets only where a marker asks for them."""

import os
import signal

from hypothesis import settings

# `ci` finds the same examples each time, so that green is repeatable; `hunt` looks further, by hand, before a release:
# HYPOTHESIS_PROFILE=hunt make test
settings.register_profile("ci", max_examples=200, deadline=None, derandomize=True)
settings.register_profile("hunt", max_examples=10_000, deadline=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

# A shell that runs the tests in the background hands on "ignore SIGINT", and every child would inherit it: tests that
# press Ctrl-C would wait for ever.
signal.signal(signal.SIGINT, signal.default_int_handler)
