"""The formats, one a file: its name is the format's, its one `Format` reads and writes it."""
