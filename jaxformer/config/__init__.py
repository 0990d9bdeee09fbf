"""What can be chosen: frozen dataclasses without jax, so that the command line can show them at once."""
