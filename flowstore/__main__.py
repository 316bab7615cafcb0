"""``python -m flowstore``."""

from flowstore.cli import main

if __name__ == "__main__":
    main()
