"""Measurements on the emulator: ``python -m bench`` lists them."""
