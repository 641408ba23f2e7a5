"""`python -m tests.chaos`: seeded faults on the line between box and hub; what is meant by what: tests/support/storm.py."""

import sys

from tests.support.storm import main

if __name__ == "__main__":
    sys.exit(main())
