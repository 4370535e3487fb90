"""The emulator of the VideoCore IV: QPUs, TMUs, SFU, VPM, DMA, semaphores, mutex, memory, caches.

It reads the tables of :mod:`piblas.isa` and models what the chip does, hazards included, by
itself: the rules that an assembler keeps are not consulted.  :class:`piblas.emu.machine.Machine`
puts the units together; programs reach it through :class:`piblas.driver.Emulator`.

Importing this package does not import numba; its modules do.
"""
