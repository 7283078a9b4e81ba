"""The microworld: bundled models and corpora in which the truth is known."""
