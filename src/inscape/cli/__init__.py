"""The command `inscape`: one verb a file, each calling the library function of the same name.

Nothing heavy is imported before a verb runs, so that help is instant.
"""
