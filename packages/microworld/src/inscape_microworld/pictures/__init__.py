"""Pictures of the microworld's things, and eyes for its language models."""
