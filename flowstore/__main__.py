"""``python -m flowstore``."""

from flowstore.cli.program import main

if __name__ == "__main__":
    main()
