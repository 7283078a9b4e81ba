"""The command `inscape-microworld`: one verb a file."""
