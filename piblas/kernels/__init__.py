"""Generators of QPU kernels: one file a routine, an ordinary Python function each.

:mod:`piblas.kernels.spec` registers them by name; :mod:`piblas.kernels.reference` says in NumPy
what each routine means.  Nothing here touches a device.
"""
