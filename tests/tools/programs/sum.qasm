# Sum of 16 n floats: adds vectors element by element, then the elements by rotations.
# Uniforms: source, destination (bus addresses), n.
    mov r0, unif
    mov rb1, unif
    mov ra2, unif
    mov r1, elem_num
    shl r1, r1, 2
    add ra0, r0, r1
    ldi -, rb3, 64
    mov r2, 0                               # the sum
next:
    mov t0s, ra0
    add ra0, ra0, rb3
    sub.sf ra2, ra2, 1
    ldtmu0
    br.any_zc rel next
    fadd r2, r2, r4
    nop
    nop
    nop
    m_mov r0, r2 rot 8
    fadd r2, r2, r0
    nop
    m_mov r0, r2 rot 4
    fadd r2, r2, r0
    nop
    m_mov r0, r2 rot 2
    fadd r2, r2, r0
    nop
    m_mov r0, r2 rot 1
    fadd r2, r2, r0
    ldi vpm_wr_setup, -, 0x00001a00
    mov vpm, r2
    ldi vpm_wr_setup, -, 0x80904000
    ldi vpm_wr_setup, -, 0xc0000000
    mov vdw_addr, rb1
    mov -, vdw_wait
    nop
    nop
    nop; thrend
    nop
    nop
