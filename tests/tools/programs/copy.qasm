# Copies n vectors of 16 words: TMU in, VPM and DMA out, one VPM row for each QPU.
# Uniforms: source, destination (bus addresses), n.
    mov r0, unif
    mov rb1, unif                           # destination
    mov ra2, unif                           # vectors left
    mov r1, elem_num
    shl r1, r1, 2
    add ra0, r0, r1                         # address of this element
    ldi -, rb3, 64                          # bytes of a vector
    ldi rb4, -, 0x00001a00                  # VPM write, 32 bits, horizontal, from row 0
    mov r3, qpu_num
    add rb4, rb4, r3                        # ... from this QPU's row
    ldi r2, -, 0x80904000                   # DMA store of one row of 16 words
    shl r3, r3, 7
    add rb5, r2, r3
loop:
    mov t0s, ra0
    add ra0, ra0, rb3
    mov vpm_wr_setup, rb4; ldtmu0
    mov vpm, r4
    mov vpm_wr_setup, rb5
    ldi vpm_wr_setup, -, 0xc0000000         # rows one after the other
    mov vdw_addr, rb1
    mov -, vdw_wait
    mov r0, rb3
    sub.sf ra2, ra2, 1
    br.any_zc rel loop
    add rb1, rb1, r0
    nop
    nop
    nop; thrend
    nop
    nop
