"""`python -m inscape.dictionary.kernels`: compile every kernel now, for later use."""

from inscape.dictionary.kernels.warm import compile_kernels

if __name__ == "__main__":
    compile_kernels()
