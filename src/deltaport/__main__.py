"""``python -m deltaport``: the same as the ``deltaport`` command."""

from deltaport.cli import main

if __name__ == "__main__":
    main()
