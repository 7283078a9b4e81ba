"""inscape shows what a language model is thinking, where it goes wrong, and what to change.

Importing this package loads nothing heavy; each public name is loaded when it is first used.
"""

__version__ = "0.1.0"
