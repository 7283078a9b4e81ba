"""`python -m inscape_microworld`."""

from inscape_microworld.cli.main import run

if __name__ == "__main__":
    run()
