"""`python -m serving.api`."""

from __future__ import annotations

from serving.api.server import main

if __name__ == "__main__":
    main()
