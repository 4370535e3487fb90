"""``piblas.patch``: functions of NumPy and SciPy that call piblas while their users know nothing of
it, and everything as it was before afterwards."""

from .patching import is_patched, patch, patch_map, unpatch

__all__ = ["is_patched", "patch", "patch_map", "unpatch"]
