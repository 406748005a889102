"""main.py that knows the network `tiny`: python -m tests.tiny_main --phase=train --network=tiny ..."""

import sys

from tests import tiny_network

tiny_network.register()

import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main.main(sys.argv[1:]))
