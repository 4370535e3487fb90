"""What the QPU is: its instruction words, registers, setup words and rules, as tables.

Sources are the sections of the Broadcom VideoCore IV 3D Architecture Reference Guide (cited as
"guide, p. N") and measurements published since.  Nothing here knows how to run or to write code.
"""
