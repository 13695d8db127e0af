"""``python -m switchrecon``: the command line."""

from switchrecon.cli.app import main

if __name__ == "__main__":
    main()
