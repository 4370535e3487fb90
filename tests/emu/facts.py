"""The facts about the QPU that the conformance suite stands for, each with its tests.

One fact is two lines: ``key  sentence  (source)``, then, indented, the tests as ``module:test``
(``test_`` left out, a parameter set may follow in brackets).  Numbers group the facts: 1 words,
2 operations, conditions and flags, 3 pack and unpack, 4 registers, 5 control flow and
synchronisation, 6 latencies and pairing, 7 TMU and caches, 8 VPM and DMA, 9 special functions
and floats, 10 protection of the host's memory (which is the emulator's, not the chip's).
"p. N" is a page of the guide; "measured" means published measurements of the chip.
"undetermined" is what sources leave open: ``strict`` faults where control, access or the choice of
an operand hang on it; a value that is open (9.1, 9.2-unmeasured) is the same guess in both modes.
"""

from __future__ import annotations

from typing import List, NamedTuple, Tuple


class Fact(NamedTuple):
    key: str
    sentence: str
    tests: Tuple[str, ...]


_TEXT = """
1-reserved  A word with a reserved code is refused, where it is reached. (p. 26-36)
    faults:a_reserved_word_is_refused_when_it_is_reached
    faults:a_reserved_word_that_is_never_reached_does_no_harm
1-ldi32  A load immediate gives its 32 bits to all elements and both results. (p. 33)
    registers:load_immediate_reaches_both_files
1-ldi-elements  Per-element loads give -2..1 or 0..3 to each element. (p. 33)
    registers:load_of_single_elements
1-ldi-reads-nothing  A load has no operands, so no read side effect either. (p. 33)
    registers:a_load_reads_no_register_and_pops_no_uniform
1-semaphore-word  A semaphore word also writes its lower word like a load. (p. 33)
    flags_conditions:a_semaphore_word_sets_flags_and_registers_like_a_load
1-small-immediate  A small immediate takes the place of file B; file A is still read. (p. 30)
    registers:a_small_immediate_leaves_file_a_readable
1-address-alone  An I/O address is read whether an operand selects it or not. (p. 37; measured)
    registers:the_address_alone_takes_a_uniform vpm:the_address_alone_takes_a_vector
    sync:the_address_alone_acquires_the_mutex dma_load:the_address_alone_waits
1-dual  Both units work in one word, on the registers as they were before. (p. 26)
    alu_mul:both_units_read_the_values_from_before_the_word
    alu_mul:dual_issue_gives_both_results
2-bkpt  The breakpoint signal stops the QPU. (p. 29)
    faults:a_breakpoint
2-scoreboard  Scoreboard signals do nothing in a user program. (p. 25, 29)
    registers:scoreboard_signals_do_nothing_in_a_user_program
2-tile-loads  Loads from the tile buffer need one. (p. 29)
    registers:a_user_program_has_no_tile_buffer_to_load_from
2.2-fadd  fadd truncates the exact sum; C is result > 0. (p. 35; measured)
    alu_add:results_and_flags[fadd] captured_vectors:captured_row
    sfu_float:truncation_over_many_random_operands[fadd]
    sfu_float:truncation_over_very_many_random_operands[0-fadd]
2.2-fsub  fsub truncates the exact difference; C is result > 0. (p. 35; measured)
    alu_add:results_and_flags[fsub] sfu_float:truncation_over_many_random_operands[fsub]
2.2-fmin  fmin takes b if a > b, else a; C is a > b. (p. 35; measured)
    alu_add:results_and_flags[fmin]
2.2-fmax  fmax takes a if a > b, else b; C is a > b. (p. 35; measured)
    alu_add:results_and_flags[fmax]
2.2-fminabs  fminabs is fmin of the magnitudes. (p. 35; measured)
    alu_add:results_and_flags[fminabs]
2.2-fmaxabs  fmaxabs is fmax of the magnitudes. (p. 35; measured)
    alu_add:results_and_flags[fmaxabs]
2.2-ftoi  ftoi truncates toward zero; C = 0. (p. 35; measured)
    alu_add:results_and_flags[ftoi] alu_add:ftoi_truncates_toward_zero
2.2-itof  itof rounds toward zero; C is a > 0. (p. 35; measured)
    alu_add:results_and_flags[itof] alu_add:itof_rounds_toward_zero
2.2-add  add is modulo 2**32; C is the carry. (p. 35; measured)
    alu_add:results_and_flags[add]
2.2-sub  sub is modulo 2**32; C is the borrow. (p. 35; measured)
    alu_add:results_and_flags[sub]
2.2-shr  shr fills with zeros; C is the last bit out. (p. 35; measured)
    alu_add:results_and_flags[shr]
2.2-asr  asr fills with the sign; C is the last bit out. (p. 35; measured)
    alu_add:results_and_flags[asr]
2.2-ror  ror rotates right; C = 0. (p. 35; measured)
    alu_add:results_and_flags[ror]
2.2-shl  shl shifts left; C is the last bit out. (p. 35; measured)
    alu_add:results_and_flags[shl]
2.2-shift-count  Shifts and rotations count with five bits. (measured)
    alu_add:shift_counts_use_five_bits
2.2-min  min is signed; C is a > b. (p. 35; measured)
    alu_add:results_and_flags[min]
2.2-max  max is signed; C is a > b. (p. 35; measured)
    alu_add:results_and_flags[max]
2.2-and  and; C = 0. (p. 35; measured)
    alu_add:results_and_flags[and]
2.2-or  or; C = 0. (p. 35; measured)
    alu_add:results_and_flags[or]
2.2-xor  xor; C = 0. (p. 35; measured)
    alu_add:results_and_flags[xor]
2.2-not  not; C = 0. (p. 35; measured)
    alu_add:results_and_flags[not]
2.2-clz  clz counts leading zeros, 32 for 0; C = 0. (p. 35; measured)
    alu_add:results_and_flags[clz] alu_add:clz_of_zero_and_of_each_bit
2.2-v8adds  v8adds saturates each byte at 255, on both units. (p. 35-36; measured)
    alu_add:results_and_flags[v8adds] alu_mul:results_and_flags[v8adds]
    alu_mul:every_pair_of_bytes[v8adds] alu_mul:v8_ops_of_the_add_unit_agree[v8adds]
2.2-v8subs  v8subs saturates each byte at 0, on both units. (p. 35-36; measured)
    alu_add:results_and_flags[v8subs] alu_mul:results_and_flags[v8subs]
    alu_mul:every_pair_of_bytes[v8subs] alu_mul:v8_ops_of_the_add_unit_agree[v8subs]
2.2-nop  A nop of the add unit writes nothing, whatever its condition. (measured)
    alu_add:nop_writes_nothing_whatever_its_condition
2.2-unary  Ops with one operand take operand a. (measured)
    alu_add:unary_ops_take_operand_a
2.2-operands  Operands come from either file, results go to either. (p. 26)
    alu_add:operands_from_both_files_and_result_to_a_file
    alu_mul:operands_from_both_files_and_result_to_a_file
2.2-captured  Results and flags captured on the chip come out. (measured)
    captured_vectors:captured_row captured_vectors:captured_pack
    captured_vectors:the_model_of_the_tests_gives_the_captured_row
2.3-fmul  fmul truncates the exact product. (p. 36; measured)
    alu_mul:results_and_flags[fmul] sfu_float:truncation_over_many_random_operands[fmul]
2.3-mul24  mul24 multiplies the low 24 bits, unsigned, and keeps 32. (p. 36; measured)
    alu_mul:results_and_flags[mul24] alu_mul:mul24_does_not_extend_the_sign
2.3-v8muld  v8muld is (a * b + 127) / 255 in each byte. (p. 36; measured)
    alu_mul:results_and_flags[v8muld] alu_mul:every_pair_of_bytes[v8muld]
2.3-v8min  v8min is the unsigned minimum of each byte. (p. 36; measured)
    alu_mul:results_and_flags[v8min] alu_mul:every_pair_of_bytes[v8min]
2.3-v8max  v8max is the unsigned maximum of each byte. (p. 36; measured)
    alu_mul:results_and_flags[v8max] alu_mul:every_pair_of_bytes[v8max]
2.3-mov  "or d, s, s" and "v8min d, s, s" move every bit. (p. 35-36)
    alu_mul:a_move_keeps_every_bit
2.4-compare  Float minimum and maximum compare patterns by sign and magnitude. (measured)
    sfu_float:minimum_and_maximum_compare_patterns_and_flush_nothing
2.5-conditions  never, always, zs, zc, ns, nc, cs, cc gate the write of an element. (p. 28)
    flags_conditions:a_condition_gates_the_write_of_each_element
    flags_conditions:the_operands_reach_every_combination
2.5-two  Each unit has a condition of its own. (p. 28)
    flags_conditions:the_two_units_have_conditions_of_their_own
2.5-old  Conditions see the flags from before the word. (p. 27)
    flags_conditions:conditions_see_the_flags_from_before_the_word
2.6-add  Flags come from the add unit unless its op is nop. (p. 27; measured)
    flags_conditions:flags_come_from_the_add_unit_if_it_has_an_op
    flags_conditions:flags_of_the_operands
2.6-mul  With an add nop flags come from the mul unit. (p. 27; measured)
    flags_conditions:flags_come_from_the_mul_unit_if_the_add_unit_has_none
2.6-never  An add op with condition never keeps all flags. (measured)
    flags_conditions:an_add_op_that_is_never_written_still_owns_the_flags
2.6-masked  Flags change only in elements whose condition holds. (measured)
    flags_conditions:flags_change_only_where_the_condition_holds
2.6-without  Flags stay without the flag bit. (p. 27)
    flags_conditions:flags_stay_without_the_flag_bit
2.6-float  Z and N look at the bits of float results too: -0.0 is not Z. (measured)
    flags_conditions:zero_and_negative_look_at_bits_of_floats_too
2.6-pack  Flags see the result before it is packed. (measured)
    flags_conditions:a_pack_mode_does_not_change_what_flags_see
2.6-load  A load sets Z and N from its value, C = 0, where its condition holds. (p. 33; measured)
    flags_conditions:flags_of_a_load flags_conditions:flags_of_a_load_of_single_elements
    flags_conditions:flags_of_a_conditional_load
2.6-load-two  A load has two conditions and two destinations, as an operation has. (p. 33)
    flags_conditions:a_load_has_two_conditions_and_two_destinations
2.6-load-never  Flags of a load with condition never on the add unit. (undetermined)
    flags_conditions:flags_of_a_load_that_the_add_unit_never_writes
2.6-carry-mul  Flag C of mul24 beyond 24 bits, and of fmul with result +Inf. (undetermined)
    flags_conditions:carry_of_mul24 flags_conditions:carry_of_fmul
2.6-nops  With a nop on both units flags have no source. (undetermined)
    flags_conditions:flags_of_two_nops_are_undetermined
2.6-branch  A taken branch with bit 45 set takes flags from the link value. (measured)
    flags_conditions:a_taken_branch_with_an_odd_register_field_sets_flags_from_its_link
    flags_conditions:a_branch_not_taken_with_an_odd_register_field_keeps_flags
2.6-mul-nop  A written mul nop repeats elements 12..15 of the last mul result. (measured)
    hazard_outcomes:the_mul_unit_without_an_op_delivers_its_previous_result
3.1-int  Unpack of file A for integer ops: sign or zero extension, 8d repeated. (p. 32)
    pack_unpack:unpack_of_file_a_for_integer_ops
3.1-float  Unpack of file A for float ops: f16 or byte / 255 to f32, 8d repeated. (p. 32)
    pack_unpack:unpack_of_file_a_for_float_ops
3.1-f16  f16 to f32 is exact; denormals keep only sign and mantissa. (measured)
    pack_unpack:every_half_to_float
3.1-byte  Byte to f32 is byte / 255 truncated. (measured)
    pack_unpack:every_byte_to_float
3.1-scope  Unpack reaches file A operands of both units and nothing else. (p. 20)
    pack_unpack:unpack_serves_both_units_and_touches_no_other_operand
    pack_unpack:unpack_of_file_a_leaves_r4_alone
3.1-io  Unpack of what a peripheral delivers through file A: taken to work. (undetermined)
    pack_unpack:unpack_of_what_a_peripheral_delivers hazard_outcomes:undefined_by_the_chip
3.1-one-type  An operand without unpack may feed float and integer ops at once. (p. 31)
    hazard_outcomes:a_value_used_as_two_types_is_harmless_without_an_unpack
3.2-r4  Unpack of r4 is always to float, and leaves file A alone. (p. 32)
    pack_unpack:unpack_of_r4_is_always_to_float pack_unpack:unpack_of_r4_leaves_file_a_alone
3.3-add  All packs of add results, with saturation and overflow as captured. (p. 31; measured)
    pack_unpack:pack_of_add_results captured_vectors:captured_pack
3.3-mul  All packs of mul results into file A. (p. 31; measured)
    pack_unpack:pack_of_mul_results
3.3-f16  f32 to f16 rounds away from zero, too small gives +0, too large Inf. (measured)
    pack_unpack:float_to_half_of_many_patterns
3.3-swap  The result that goes to file A is packed, the other is not. (p. 20)
    pack_unpack:the_file_a_write_is_packed_and_the_other_is_not
3.3-load  A load packs as an integer. (measured)
    pack_unpack:a_load_packs_as_an_integer
3.3-masked  Elements whose condition fails keep all their bits. (p. 28)
    pack_unpack:elements_whose_condition_fails_are_not_packed
3.3-both  Pack and unpack of file A work in one word. (p. 20)
    pack_unpack:pack_and_unpack_of_file_a_in_one_word
3.3-acc  Packing does not reach accumulators. (p. 18)
    pack_unpack:packing_does_not_reach_accumulators
3.4-colour  A mul result packs as a byte of round(255 x), clamped, anywhere. (p. 31)
    pack_unpack:colour_pack_of_the_mul_result pack_unpack:colour_pack_of_a_product
    pack_unpack:colour_pack_leaves_the_add_result_alone
4.1-files  Two files of 32 registers of 16 elements. (p. 18)
    registers:every_register_of_a_file_holds_its_own_16_elements
    registers:all_64_registers_are_apart
    registers:equal_numbers_in_the_two_files_are_different_registers
4.1-swap  The write swap bit exchanges the files of the two results. (p. 27)
    registers:the_write_swap_bit_exchanges_the_files
4.1-ports  One read of a file feeds any number of operands. (p. 26)
    registers:one_register_feeds_all_four_operands
4.1-element  ELEMENT_NUMBER is 0..15. (p. 37)
    registers:element_number
4.1-qpu  QPU_NUMBER is the number of the QPU, 0..11. (p. 37)
    registers:qpu_number_of_each_of_twelve
4.1-nop  Writes to address 39 are dropped. (p. 37)
    registers:the_nop_address_discards
4.1-scalar  Setup words and addresses are those of element 0. (measured)
    registers:the_new_uniforms_address_is_that_of_element_0 vpm:the_setup_word_is_that_of_element_0
    dma_load:the_address_is_that_of_element_0 dma_store:the_address_is_that_of_element_0
4.1-undefined  Addresses without a meaning give nothing to rely on. (p. 24, 37)
    hazard_outcomes:undefined_by_the_chip
    hazard_outcomes:an_address_without_a_meaning_gives_the_element_or_the_qpu
4.3-no-value  The mutex and the waits for DMA have no value. (p. 37; measured)
    hazard_outcomes:undefined_by_the_chip
4.1-hostint-value  Any value but 0 raises it, and the host sees which QPU did. (p. 38; measured)
    registers:any_value_other_than_zero_raises_the_interrupt
4.1-unif-b  The uniforms address is written through file A. (undetermined)
    hazard_outcomes:undefined_by_the_chip
4.1-hostint  The host interrupt does not disturb a program and may be conditional. (p. 38; measured)
    registers:raising_the_host_interrupt_does_not_disturb_the_program
    registers:a_conditional_host_interrupt
4.2-acc  Accumulators r0..r3 are readable in the next word. (p. 18)
    registers:accumulators_hold_16_elements_and_are_readable_at_once
4.2-r4  r4 keeps its value until the next load into it. (p. 18-19)
    registers:r4_keeps_its_value_and_the_word_that_loads_it_sees_the_old_one
4.2-r5-b  r5 written through file B repeats element 0. (p. 38; measured)
    rotation_r5:r5_written_through_file_b_repeats_element_0 rotation_r5:either_unit_writes_r5
    rotation_r5:a_rotation_into_r5_repeats_any_element
4.2-r5-a  r5 written through file A repeats the first element of each quad. (p. 38; measured)
    rotation_r5:r5_written_through_file_a_repeats_the_first_element_of_each_quad
4.2-r5-cond  Element 0 (of the quad) decides on a conditional write of r5. (measured)
    rotation_r5:element_0_decides_on_a_conditional_write_of_all_of_r5
    rotation_r5:the_first_element_of_a_quad_decides_on_a_conditional_write_of_the_quad
4.2-r5-read  r5 is an operand of both units. (p. 18)
    rotation_r5:r5_feeds_both_units
4.3-uniform  A uniform is one word, in order, the same in all elements. (p. 22)
    registers:uniforms_come_in_order_in_every_element
    registers:uniforms_read_at_a_bus_address_given_by_the_host
4.3-one-pop  Both read ports in one word take one uniform. (measured)
    registers:both_read_ports_take_one_uniform
4.3-address-alone  The address takes a uniform, selected or not, condition or not. (measured)
    registers:the_address_alone_takes_a_uniform registers:a_condition_does_not_stop_the_uniform
4.3-unif-address  A write to UNIFORMS_ADDRESS serves the third word after it. (p. 22)
    registers:a_new_uniforms_address
4.4-values  Small immediates are -16..15 and powers of two from 1/256 to 128. (p. 30)
    registers:every_small_immediate registers:small_immediate_as_mul_operand
4.4-rotate-values  Rotation codes read as -16..-1 on the other unit. (measured)
    rotation_r5:the_rotation_code_is_also_an_operand_of_the_add_unit
    rotation_r5:the_code_for_r5_reads_as_minus_16
4.5-up  A rotation by n moves element e to e + n modulo 16. (p. 30; measured)
    rotation_r5:rotation_by_an_immediate
4.5-r5  Code 48 rotates by bits 3:0 of element 0 of r5. (p. 30; measured)
    rotation_r5:rotation_by_r5 rotation_r5:rotation_by_r5_takes_element_0
4.5-ops  The result of any mul op is rotated, that of the add unit is not. (p. 20)
    rotation_r5:the_result_of_any_op_is_rotated rotation_r5:the_add_unit_is_not_rotated
4.5-quads  Sources r4 and file A rotate within quads. (measured)
    rotation_r5:other_sources_rotate_within_their_quads
    rotation_r5:other_sources_rotate_within_their_quads_by_r5
4.5-cond  Condition and pack are those of the destination element. (measured)
    rotation_r5:the_condition_is_that_of_the_destination_element
    rotation_r5:the_rotated_result_is_what_gets_packed
4.5-flags  Flags of a rotated result: taken as those of the rotated values. (undetermined)
    rotation_r5:flags_of_a_rotated_result
5.1-conditions  Branch conditions ask all or any of the 16 elements. (p. 34)
    control_flow:every_branch_condition_over_sixteen_elements
    control_flow:a_branch_tests_the_flags_of_the_word_before
5.2-slots  Three words after a branch always execute. (p. 20)
    control_flow:three_delay_slots_always_execute control_flow:a_branch_that_skips_nothing
    control_flow:conditional_writes_and_signals_in_delay_slots
5.2-relative  A relative branch counts from the word after its delay slots. (p. 34)
    control_flow:a_backward_branch_counts control_flow:a_branch_that_skips_nothing
5.2-absolute  An absolute branch goes to a bus address, immediate plus register. (p. 34)
    control_flow:an_absolute_branch_to_a_register
    control_flow:an_absolute_branch_adds_its_immediate
5.2-aligned  A branch goes to a multiple of 8. (p. 34)
    faults:a_branch_to_half_a_word
5.2-register  A relative branch may add a register of file A too. (p. 34)
    control_flow:a_relative_branch_to_a_register_adds_all_three
5.2-element-15  The register counts in element 15. (measured)
    control_flow:the_branch_register_counts_in_element_15
5.2-uneven  A register whose elements differ is worth a warning: sources differ. (measured)
    control_flow:a_branch_register_whose_elements_differ_is_worth_a_warning
5.2-link  The link is the bus address after the delay slots, in all elements. (p. 20; measured)
    control_flow:the_link_is_the_address_after_the_delay_slots
    control_flow:the_link_counts_from_the_start_of_the_program
    control_flow:a_subroutine_returns_by_its_link
    control_flow:link_through_file_b_with_the_write_swap
5.2-no-link  A branch that is not taken writes no link. (p. 20; measured)
    control_flow:no_link_without_the_branch
5.2-flags  A plain branch leaves the flags alone. (p. 34)
    control_flow:flags_survive_a_branch
5.3-start  Flags are undefined when a program starts. (p. 20; undetermined)
    flags_conditions:flags_at_the_start_of_a_program_are_undefined
5.3-end  The word with the end signal and two more execute. (p. 21)
    control_flow:two_words_after_the_end_signal_still_execute
    control_flow:the_third_word_after_the_end_signal_does_not_execute
    control_flow:the_end_signal_beside_two_operations
5.3-independent  QPUs run and end on their own. (p. 13)
    control_flow:qpus_may_end_at_different_times
    control_flow:loops_do_not_depend_on_the_number_of_qpus
5.3-list  The launch call takes pairs {uniforms, code}, one a QPU. (p. 91; measured)
    control_flow:a_list_of_uniforms_and_code_addresses
    threads:the_list_of_launches_may_hold_two_threads_for_a_qpu
5.4-thrsw  File registers survive a thread switch with two delay slots. (p. 20)
    control_flow:registers_of_the_files_survive_a_thread_switch
    threads:two_delay_slots_belong_to_the_thread_that_switches
    threads:the_debugger_and_the_trace_tell_the_threads_apart
5.4-two  Two threads take turns, each with program counter and uniforms of its own. (p. 20)
    threads:the_second_thread_begins_at_the_first_switch
    threads:each_thread_has_uniforms_of_its_own
    threads:branches_and_links_stay_with_their_thread
    threads:a_program_of_two_threads_in_every_mode threads:wrong_numbers_of_threads
5.4-halves  The second thread has bit 4 of register numbers inverted. (p. 20)
    threads:each_thread_has_registers_of_its_own threads:the_upper_half_does_as_well
    threads:register_halves_are_those_of_the_other_thread
    threads:a_file_register_is_late_for_the_next_word_of_either_thread
5.4-alone  A program that is alone goes on itself after a switch. (p. 21)
    control_flow:registers_of_the_files_survive_a_thread_switch
    threads:a_thread_that_is_alone_goes_on_itself
5.4-end  Where one of two threads ends, the other one goes on. (p. 21)
    threads:the_other_thread_goes_on_where_a_program_ends
    threads:a_thread_ends_with_all_of_its_results_taken
5.4-last  No switch follows the last one. (p. 20)
    threads:no_switch_follows_the_last_one
5.4-shared  What belongs to the QPU, as the mutex does, two threads share. (p. 20)
    threads:a_thread_waits_for_itself_not_for_a_switch
5.4-queue  Two threads share the queues of a TMU, half for each, in one order. (p. 39)
    threads:results_come_in_the_order_of_both_threads_requests
    threads:results_of_an_earlier_section_must_be_taken_before_the_next_switch
    threads:each_thread_has_half_of_the_queue
5.5-sixteen  Sixteen semaphores count from 0 to 15. (p. 33)
    sync:a_semaphore_counts_up_to_15_and_down_again sync:semaphores_are_apart
5.5-low  Counting down waits at 0. (p. 33)
    sync:counting_down_blocks_at_zero
5.5-high  Counting up waits at 15. (p. 33)
    sync:counting_up_blocks_at_fifteen
5.5-persist  A semaphore keeps its count after a program. (measured)
    sync:a_semaphore_keeps_its_count_after_a_program
5.5-order  Semaphores order the work of QPUs. (p. 33)
    sync:a_producer_releases_a_consumer sync:two_qpus_play_ping_pong
    sync:twelve_qpus_meet_at_a_barrier
5.5-mutex  One QPU at a time holds the mutex. (p. 24, 38)
    sync:twelve_qpus_share_a_counter_in_memory_under_the_mutex sync:only_one_qpu_holds_the_mutex
    sync:a_qpu_that_keeps_the_mutex_blocks_the_others
    sync:acquiring_a_mutex_that_the_qpu_holds_blocks_it
5.5-mutex-release  Any write of any QPU releases the mutex. (p. 38)
    sync:another_qpu_may_release_the_mutex
5.6-wait  A word that has to wait does nothing before, and everything once. (p. 22-24)
    sync:a_word_that_waits_takes_its_uniform_once
5.5-mutex-once  Both read ports in one word acquire once. (measured)
    sync:acquiring_twice_in_one_word_counts_once
6-H1  The next word reads the old value of a file register. (p. 18)
    hazard_outcomes:a_file_register_shows_its_old_value_to_the_next_word
    hazard_outcomes:reading_a_file_register_too_early_is_a_fault
    hazard_outcomes:reading_it_early_is_harmless_if_the_value_stays
    hazard_outcomes:reading_it_early_is_harmless_in_elements_that_stay
    hazard_outcomes:the_other_file_and_other_registers_are_free
    hazard_outcomes:a_branch_sees_the_old_register_too
    hazard_outcomes:a_register_written_in_the_last_delay_slot_reaches_the_target_late
6-H2  A special function is in r4 for the third word after it. (p. 23)
    sfu_float:the_result_is_there_in_the_third_word
    hazard_outcomes:r4_is_old_in_the_two_words_after_an_sfu_write
    hazard_outcomes:reading_r4_too_early_is_a_fault
    hazard_outcomes:reading_r4_too_early_is_harmless_where_nothing_is_written
    hazard_outcomes:an_sfu_write_behind_another_too_closely_is_a_fault
    hazard_outcomes:a_tmu_result_while_the_sfu_works_is_a_fault
6-H3  An accumulator is not ready for a rotation in the next word. (p. 20)
    hazard_outcomes:rotating_an_accumulator_that_was_just_written_is_a_fault
    hazard_outcomes:rotating_an_accumulator_whose_value_stayed_is_harmless
    hazard_outcomes:rotating_after_one_word_between
    hazard_outcomes:a_rotated_sum_that_takes_an_unchanged_element_is_harmless
6-H4  r5 is not ready as an amount in the next word. (p. 20)
    hazard_outcomes:rotating_by_an_r5_that_was_just_written_is_a_fault
    hazard_outcomes:rotating_by_an_r5_that_stayed_is_harmless
6-H5  Sources outside r0..r3 rotate within quads. (measured)
    rotation_r5:other_sources_rotate_within_their_quads
6-H6  Beside a small immediate there is no file B; a rotation amount is an operand, too. (p. 30)
    registers:a_small_immediate_leaves_file_a_readable
    rotation_r5:the_rotation_code_is_also_an_operand_of_the_add_unit
6-H7  No uniform in the two words after a new address. (p. 22)
    hazard_outcomes:a_uniform_too_soon_after_a_new_address_is_a_fault
    texture:wrong_sequences
6-H8  The first request comes three words after a write to TMU_NOSWAP. (p. 37)
    hazard_outcomes:a_request_too_soon_after_the_end_of_the_swap_is_a_fault
    tmu:the_swap_of_units_does_not_show_on_any_qpu
6-H9  One access to TMU, SFU, mutex or semaphores in a word; other exclusions. (p. 37)
    hazard_outcomes:undefined_by_the_chip
6-H11  Two results for one place must agree or exclude each other. (p. 19)
    hazard_outcomes:two_different_results_for_one_accumulator_are_a_fault
    hazard_outcomes:two_equal_results_for_one_accumulator_are_harmless
    hazard_outcomes:inverse_conditions_share_an_accumulator
    hazard_outcomes:two_results_for_one_peripheral_are_a_fault
6-H12  Peripherals take no conditional writes. (measured)
    hazard_outcomes:a_conditional_write_to_a_peripheral_is_a_fault
6-H26  Rows under a DMA that nobody waited for are not to be touched. (p. 56)
    hazard_outcomes:undefined_by_the_chip
2.6-vague  Flags of an undefined value count where a condition looks at them. (emulator)
    flags_conditions:flags_of_an_undefined_value_are_undefined
    flags_conditions:a_value_that_is_kept_is_used
1.5-unset  A branch by a register that was never set is a mistake. (emulator)
    control_flow:a_branch_by_a_register_that_was_never_set_says_so
5.4-lost  Accumulators and flags are lost over a thread switch. (p. 20)
    hazard_outcomes:undefined_by_the_chip threads:accumulators_and_flags_are_lost
    threads:accumulators_and_flags_hold_what_the_other_thread_left
6-H10  A TMU write that takes a uniform excludes a uniform read beside it. (p. 23)
    texture:wrong_sequences
6-H13  No byte of a colour goes to a peripheral. (measured)
    hazard_outcomes:undefined_by_the_chip
6-H14  File-A packs need a register of file A. (p. 18; measured)
    hazard_outcomes:undefined_by_the_chip pack_unpack:packing_does_not_reach_accumulators
6-H14-32s  Pack 32s changes results of add and sub only. (measured)
    pack_unpack:32s_changes_the_results_of_no_integer_op_but_add_and_sub
6-H19  The last three words use neither uniforms nor the VPM. (p. 21)
    hazard_outcomes:undefined_by_the_chip texture:wrong_sequences
6-H19-14  The last three words do not read ra14 or rb14. (p. 21)
    hazard_outcomes:undefined_by_the_chip
6-H19-end  A write of the end word to a file reaches nobody. (p. 21)
    hazard_outcomes:a_file_register_written_by_the_end_word_does_no_harm
6-H20  No branch in the first two delay slots of a branch. (measured)
    hazard_outcomes:undefined_by_the_chip
6-H21  No thread switch or end in delay slots, no branch in theirs. (p. 20-21)
    hazard_outcomes:undefined_by_the_chip
6-H22  A branch by a register with an odd number sets flags. (measured)
    flags_conditions:a_taken_branch_with_an_odd_register_field_sets_flags_from_its_link
6-H23  The register of a branch counts in one element. (measured)
    control_flow:the_branch_register_counts_in_element_15
6-H24  A semaphore word writes neither TLB, TMU nor SFU. (p. 33)
    hazard_outcomes:undefined_by_the_chip
6-H27  A user program has no tile buffer. (p. 37)
    hazard_outcomes:undefined_by_the_chip
6-H15  A setup and a read of the VPM exclude each other in a word. (measured)
    hazard_outcomes:reading_the_vpm_and_setting_it_up_in_one_word_is_a_fault
6-H16  A VPM read right after its setup waits. (measured)
    vpm:a_read_waits_for_its_data
6-H17  A new read setup must not overtake unread vectors. (measured)
    hazard_outcomes:a_new_read_setup_over_unread_vectors_is_a_fault
6-H17-queue  A new read setup may wait behind one last vector. (measured)
    vpm:a_setup_queues_behind_the_last_vector_of_another
6-H18  A program reads no more vectors than it set up. (p. 56; measured)
    hazard_outcomes:reading_more_vectors_than_were_set_up_is_a_fault
6-H18-left  Vectors left unread are cancelled when the program ends. (p. 56; measured)
    hazard_outcomes:a_program_that_leaves_vectors_unread_gets_the_others_right
    hazard_outcomes:vectors_left_unread_are_cancelled_when_their_program_ends
6-H25  Each of at most eight requests of a TMU is popped once. (p. 39)
    tmu:eight_requests_fit hazard_outcomes:nine_requests_are_a_fault
    hazard_outcomes:popping_a_result_that_nobody_asked_for_is_a_fault
    hazard_outcomes:results_left_behind_are_a_fault
6-H28  A peripheral is read that no operand selects. (p. 37; measured)
    registers:the_address_alone_takes_a_uniform vpm:the_address_alone_takes_a_vector
    sync:the_address_alone_acquires_the_mutex
6-H29  r4 holds what was put there last. (p. 18-19)
    hazard_outcomes:r4_holds_what_was_put_there_last
6-H30  A program ends with the end signal and two more words. (p. 21)
    faults:a_program_without_an_end control_flow:two_words_after_the_end_signal_still_execute
7.1-gather  A lookup fetches one word per element from its own address. (p. 41)
    tmu:each_element_has_an_address_of_its_own tmu:requests_of_either_alu_and_with_arithmetic
7.1-align  The two low address bits are ignored. (p. 41)
    tmu:the_two_low_address_bits_are_ignored
7.1-order  Results come in the order of requests. (p. 39)
    tmu:results_come_in_the_order_of_requests
7.1-two  TMU 0 and TMU 1 have queues of their own. (p. 39)
    tmu:the_two_units_have_queues_of_their_own
7.1-no-uniform  A direct lookup takes no uniform. (p. 41)
    tmu:a_request_takes_no_uniform
7.1-signal  The word with the load signal sees the old r4, the next the new. (p. 19)
    tmu:the_word_with_the_signal_sees_the_r4_from_before
7.1-swap  Neither the swap of TMUs nor its absence changes a result. (p. 37)
    tmu:the_swap_of_units_does_not_show_on_any_qpu
7.1-swap-units  QPUs 2 and 3 of a slice have TMUs swapped, unless told not to. (p. 37; measured)
    caches:which_tmu_a_qpu_reaches
7.1-texture  T, then S, look up a texel; each write takes a configuration word. (p. 39-42)
    texture:the_nearest_texel texture:each_write_takes_one_uniform_in_order
    texture:a_size_of_0_means_2048 texture:flip_y_counts_from_the_other_end
    texture:twelve_qpus_look_up texture:textures_in_every_mode texture:wrong_sequences
    texture:a_texture_that_leaves_its_buffer
7.1-texture-types  Types and their channels; raster and tiled layouts. (p. 40-41; measured)
    texture:the_nearest_texel texture:texture_types
7.1-rgba64  A texel of 64 bits takes two pops. (p. 40)
    texture:rgba64_gives_two_results
7.1-wrap  Coordinates outside 0..1 repeat, stick to the edge, or are mirrored. (p. 40; measured)
    texture:wrap_modes
7.1-filter  The nearest texel, or one interpolated from four. (p. 40; measured)
    texture:interpolation_of_equal_texels texture:interpolation_at_the_centre_of_a_texel
7.1-texture-guess  Rounding, levels, cube maps, border, some types. (undetermined)
    texture:interpolation_between_texels_is_a_guess
    texture:what_is_undetermined_about_a_texture_is_a_fault
    texture:a_coordinate_at_the_edge_of_a_texel texture:the_border
7.1-slots  A lookup takes a slot of the queue for each coordinate. (p. 39)
    texture:s_and_t_take_two_slots_of_the_queue texture:direct_lookups_go_on_beside_textures
7.1-host  Lookups see what the host wrote before the launch. (p. 39)
    tmu:lookups_read_what_the_host_wrote_before_the_launch
7.2-l1  A TMU cache has 4 KiB, lines of 64 bytes, one way. (measured)
    caches:evicted_lines_are_fetched_again
7.2-l2  The L2 has 32 KiB in four ways and serves both TMUs. (measured)
    caches:evicted_lines_are_fetched_again
    caches:the_units_of_a_slice_have_caches_of_their_own_over_one_l2
7.2-code  The instruction cache holds code until it is cleared. (p. 14; measured)
    caches:code_that_was_overwritten_runs_from_the_cache_until_it_is_cleared
7.2-fifo  Two uniforms are fetched ahead: at the start, with a new address, by reads. (p. 22)
    caches:two_uniforms_are_fetched_ahead caches:a_new_address_fills_the_uniform_fifo_at_once
    caches:reads_fetch_the_uniform_two_words_ahead
7.3-texture  Texture lookups come through the TMU's cache. (measured)
    texture:a_texture_comes_through_the_cache
7.3-stale  A lookup after a DMA store gives the cached line. (measured)
    caches:a_lookup_after_a_dma_store_gives_the_old_line
    caches:a_lookup_of_a_line_not_yet_cached_sees_the_store
    caches:without_the_mode_a_lookup_sees_the_store
7.3-dma  DMA goes past the caches. (measured)
    caches:a_dma_load_after_a_dma_store_sees_new_data
7.3-uniforms  Uniforms come through a cache. (measured)
    caches:uniforms_that_were_overwritten_by_dma_stay_old
7.3-cpu  The CPU's view meets memory by clean and invalidate. (p. 14)
    caches:what_the_cpu_writes_arrives_with_clean
    caches:what_a_program_writes_arrives_with_invalidate
7.3-clear  The host clears the caches, as a launch does. (p. 84; measured)
    caches:a_launch_clears_the_caches_unless_told_not_to
    caches:the_device_clears_caches_on_demand
8.1-shared  All QPUs see the same 64 rows of 16 words. (p. 53)
    sync:all_qpus_share_the_rows_of_the_vpm
8.3-write  Writes of 8, 16, 32 bits, packed or laned, in both directions. (p. 53-56)
    vpm:writes vpm:the_mul_unit_writes_too
8.3-read  Reads of 8, 16, 32 bits, packed or laned, in both directions. (p. 53-57)
    vpm:reads
8.3-stride  ADDR steps by STRIDE and wraps in 64 rows. (p. 55-57)
    vpm:writes vpm:reads vpm:writes_wrap_after_the_last_row
8.3-num  A read setup serves 1 to 16 vectors. (p. 57)
    vpm:number_of_vectors_of_a_read
8.3-one-pop  Both read ports, or the address alone, take one vector. (measured)
    vpm:both_read_ports_take_one_vector vpm:the_address_alone_takes_a_vector
8.3-lasting  A write setup serves any number of writes. (p. 56)
    vpm:a_write_setup_serves_any_number_of_writes
8.3-apart  Read and write setups are apart, and each QPU has its own. (p. 56)
    vpm:a_read_setup_does_not_disturb_writes sync:setups_are_kept_for_each_qpu
8.3-same-word  A read and a write in one word are fine. (measured)
    vpm:read_and_write_in_one_word
8.3-order  A read sees the writes before it. (measured)
    vpm:a_write_is_seen_by_a_later_read
8.4-horizontal  A DMA load fills rows from X, VPITCH rows apart. (p. 58-59)
    dma_load:horizontal_words
8.4-vertical  A vertical DMA load fills columns downward, VPITCH rows apart. (p. 58-59; measured)
    dma_load:vertical_words
8.4-mpitch  Memory rows are 8 * 2**MPITCH bytes apart, or MPITCHB with MPITCH = 0. (p. 58-59)
    dma_load:pitch_as_a_power_of_two dma_load:pitch_8_makes_rows_overlap_in_memory
    dma_load:the_pitch_word_lasts_until_the_next_one
8.4-mpitchb  MPITCHB has 14 bits. (measured)
    dma_load:pitch_in_bytes_has_14_bits
8.4-16  16-bit loads fill packed half-vectors, VPITCH of them apart. (p. 58-59)
    dma_load:halves_go_to_packed_sub_vectors
8.4-8  8-bit loads fill packed quarter-vectors, VPITCH of them apart. (p. 58-59)
    dma_load:bytes_go_to_packed_sub_vectors
8.4-select  Where a selected byte or half-word of a load goes. (undetermined)
    dma_load:the_place_of_a_selected_part_is_undetermined
8.4-column  Where bytes and half-words go that are loaded into a column. (undetermined)
    dma_load:the_place_of_bytes_in_a_column_is_undetermined
8.4-dispatch  The top bits of a read setup tell its kind. (p. 57-59)
    dma_load:a_load_setup_and_a_store_setup_are_told_apart
8.5-horizontal  A DMA store takes rows; STRIDE bytes from end to start. (p. 57-58)
    dma_store:horizontal_words
8.5-vertical  A vertical DMA store takes columns. (p. 57-58; measured)
    dma_store:vertical_words
8.5-stride  The stride has 16 bits. (measured)
    dma_store:stride_has_16_bits dma_store:the_stride_word_lasts_until_the_next_one
8.5-row-end  What a store takes beyond the end of a row. (undetermined)
    dma_store:what_lies_beyond_the_end_of_a_row_is_undetermined
8.5-stride-left  Whether a stride outlives its program. (undetermined)
    dma_store:whose_stride_counts_that_a_program_never_wrote_is_undetermined
8.5-zero  UNITS and DEPTH count to 128, written as 0. (p. 58)
    dma_store:a_field_of_0_means_128
8.4-zero  ROWLEN, NROWS and VPITCH count to 16, written as 0. (p. 58)
    dma_load:horizontal_words dma_load:vertical_words
8.5-deep  A column of a store ends with its 16 rows, columns with column 15. (undetermined)
    dma_store:a_column_starts_again_at_the_top_of_its_block
8.5-block  Whether block mode takes units one after another. (undetermined)
    dma_store:block_mode_steps_as_it_does_without
8.5-column  Which bytes and half-words a store takes from a column. (undetermined)
    dma_store:the_place_of_bytes_in_a_column_is_undetermined
8.5-16  16-bit stores take consecutive halves of a row. (p. 57)
    dma_store:halves dma_store:halves_may_start_at_any_even_address
8.5-8  8-bit stores take consecutive bytes of a row. (p. 57)
    dma_store:bytes
8.5-undefined  A write setup with top bits 1 has no meaning. (p. 56-58)
    faults:an_undefined_write_setup
8.6-drain  A store takes what was written to the VPM before it. (measured)
    dma_store:a_store_takes_what_was_written_just_before
8.6-wait  After the wait a DMA is not busy, and its data is in place. (p. 56)
    dma_load:busy_reads_zero_after_the_wait dma_store:busy_reads_zero_after_the_wait
    dma_store:a_load_after_a_waited_store_sees_it
8.6-busy  A busy flag is not 0 while the DMA runs. (p. 56)
    dma_load:busy_is_not_zero_while_a_load_runs dma_store:busy_is_not_zero_while_a_store_runs
8.6-queue  A second load waits for the first. (measured)
    dma_load:four_loads_without_a_wait_between
8.6-memory  Memory under a DMA belongs to it until the wait, gaps between its rows do not. (p. 56)
    dma_races:a_load_beside_a_store dma_races:a_store_beside_a_load
    dma_races:a_lookup_beside_a_store dma_races:a_uniform_beside_a_store
    dma_races:rows_that_overlap_leave_no_gap
8.6-order  What orders accesses is a wait, and the mutex or a semaphore between QPUs. (p. 24, 56)
    dma_races:two_qpus_race_whoever_is_first dma_races:the_message_names_both_sides
    dma_races:a_wait_and_a_signal_order dma_races:the_mutex_orders
    dma_races:a_signal_before_the_wait_does_not
    dma_races:a_transfer_without_a_wait_is_never_over
    dma_races:a_semaphore_orders_as_many_as_have_gone_up
8.6-overlap  A load and a store may run at once. (p. 56)
    dma_load:load_and_store_may_overlap
9.1-accuracy  Special functions: rtol 1e-4, log2 1e-2. (measured)
    sfu_float:accuracy sfu_float:close_to_measured_outputs
    sfu_float:each_element_has_a_result_of_its_own
9.1-special  recip and rsqrt of 0 are Inf, log2 of 0 is -Inf, exp2 saturates. (p. 23; measured)
    sfu_float:special_values
9.1-sign  rsqrt and log2 ignore the sign. (measured)
    sfu_float:the_sign_of_the_operand_is_ignored
9.2-arithmetic  Truncation, flushed denormals, +0, and infinities instead of NaN. (measured)
    sfu_float:float_arithmetic
9.2-ftoi-range  ftoi of NaN, Inf and 2**97 gives 0; both ends of int32 are reached. (measured)
    alu_add:results_and_flags[ftoi] captured_vectors:captured_row
    alu_add:ftoi_reaches_both_ends_of_int32
9.2-unmeasured  Sums beyond the largest float, ftoi beyond int32: guesses. (undetermined)
    sfu_float:results_that_nobody_measured_are_guesses
9.2-published  358.666... - 3.050... ends in d7, as on a board. (measured)
    sfu_float:a_difference_published_from_a_board
10-store  A store outside live buffers stops before it writes there. (emulator)
    faults:a_store_outside_a_buffer faults:a_store_of_one_element_past_a_buffer
    faults:a_store_to_the_last_byte_is_fine faults:a_store_to_an_address_that_is_no_buffers
10-load  A DMA load outside live buffers stops. (emulator)
    faults:a_dma_load_outside_a_buffer faults:the_last_row_of_a_dma_load_outside_a_buffer
10-lookup  A lookup outside live buffers stops. (emulator)
    faults:a_lookup_outside_a_buffer faults:a_lookup_at_an_address_that_is_no_buffers
    faults:one_bad_address_among_sixteen
10-live  A buffer is live from alloc to free, to the byte. (emulator)
    faults:a_freed_buffer_is_outside faults:a_buffer_ends_where_it_was_said_to_end
10-place  A fault names QPU, word and instruction. (emulator)
    faults:the_fault_names_qpu_and_word
10-uniforms  Uniforms outside live buffers stop. (emulator)
    faults:uniforms_past_the_end_of_memory
10-code  Words outside live buffers, or behind the program, stop. (emulator)
    faults:a_branch_to_nowhere faults:a_program_without_an_end
10-loop  A loop without end runs into the time-out, one with an end does not. (emulator)
    faults:an_infinite_loop faults:a_loop_that_ends_in_time
10-deadlock  A deadlock ends at once and names each QPU, word and reason. (emulator)
    faults:a_deadlock_on_a_semaphore_names_each_qpu faults:a_deadlock_on_the_mutex_names_the_word
    sync:a_device_is_usable_after_a_deadlock_and_its_semaphores_are_zero
10-window  User programs have 64 rows of the VPM. (p. 53)
    faults:vpm_rows_outside_the_window
10-align  Words are stored and loaded at multiples of four. (p. 57-59)
    faults:a_misaligned_store_of_words faults:a_misaligned_load_of_words
"""


def _facts() -> List[Fact]:
    rows: List[Fact] = []
    for line in _TEXT.strip().splitlines():
        if line.startswith(" "):
            key, sentence, tests = rows.pop()
            names = [name.replace(":", ".py::test_") for name in line.split()]
            rows.append(Fact(key, sentence, tests + tuple(f"test_{name}" for name in names)))
        else:
            key, _, sentence = line.partition("  ")
            rows.append(Fact(key, sentence.strip(), ()))
    return rows


FACTS = _facts()
