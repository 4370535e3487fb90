"""A virtual Raspberry Pi: programs run under it make real system calls and meet a Pi's answers."""
