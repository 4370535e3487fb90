"""From a bound call to the chip: launch plans, and what runs them on a device.

Each routine has a function here that takes operands in NumPy's terms and a device.  It looks up
(or makes) a *plan* (:mod:`.plan`), which depends on sizes, strides and options only, and hands it
to the device's *runner* (:mod:`.runner`), which keeps programs, uniform streams and scratch memory
there.
"""
