"""``piblas asm`` and ``piblas dis``: programs out, programs in."""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from typing import Any, Dict

import numpy as np

from ..errors import DecodeError, PiblasError
from ..isa import syntax
from ..isa.instr import decode
from ..isa.source import Source, to_source
from . import console
from .files import FORMS, read_program

__all__ = ["add_commands"]


def add_commands(commands: Any) -> None:
    asm = commands.add_parser(
        "asm",
        help="build a kernel, or assemble a file",
        description="Build a kernel and print its listing, or assemble FILE; or write the words.  "
        "Without an argument: list the kernels and their options.",
        epilog=f"FILE: a name with a dot or a slash; {FORMS}.  For the grammar: --syntax.",
    )
    asm.add_argument(
        "kernel", nargs="?", metavar="KERNEL|FILE", help="name of a kernel, or a file; - for stdin"
    )
    asm.add_argument(
        "--set",
        metavar="OPTION=VALUE",
        action="append",
        default=[],
        help="change an option of the kernel; may be repeated",
    )
    asm.add_argument(
        "--syntax", action="store_true", help="print the grammar of program texts, with all names"
    )
    form = asm.add_mutually_exclusive_group()
    form.add_argument("--hex", action="store_true", help="words as hex text, one a line")
    form.add_argument("--bin", action="store_true", help="words as little-endian binary")
    form.add_argument("--text", action="store_true", help="text that can be assembled again")
    asm.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help="write to FILE instead of stdout; FILE.bin and FILE.hex choose the form",
    )
    asm.set_defaults(run=run_asm, parser=asm)

    dis = commands.add_parser(
        "dis",
        help="disassemble a file of instruction words",
        description="Disassemble FILE to text that 'piblas asm' turns into the same words.  Exit "
        "code 1 if a word is no instruction; it then stands there as .word.",
        epilog=f"FILE: {FORMS}.",
    )
    dis.add_argument("file", metavar="FILE", help="the file; - for stdin")
    dis.add_argument("--plain", action="store_true", help="without offsets and words")
    dis.set_defaults(run=run_dis)


# --- asm ---------------------------------------------------------------------------------------


def _value(text: str, default: Any) -> Any:
    """The option's value, of the type of its default."""
    if isinstance(default, bool):
        words = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
        if text.lower() not in words:
            raise ValueError("wants yes or no")
        return words[text.lower()]
    try:
        return type(default)(text)
    except ValueError:
        raise ValueError(f"wants a value like {default!r}") from None


def _options(args: argparse.Namespace, defaults: Dict[str, Any]) -> Dict[str, Any]:
    changes = {}
    for setting in args.set:
        name, sign, text = setting.partition("=")
        if not sign or name not in defaults:
            args.parser.error(f"--set {setting}: write OPTION=VALUE, OPTION of {list(defaults)}")
        try:
            changes[name] = _value(text, defaults[name])
        except ValueError as error:
            args.parser.error(f"--set {setting}: {error}")
    return changes


def _is_file(name: str) -> bool:
    return name == "-" or "." in name or os.sep in name or os.path.exists(name)


def _build(args: argparse.Namespace) -> Any:
    """The program of a kernel."""
    from ..kernels import spec

    if args.kernel not in spec.names():
        args.parser.error(f"no kernel {args.kernel!r}; there are {', '.join(spec.names())}")
    kernel = spec.get(args.kernel)
    changes = _options(args, dataclasses.asdict(kernel.defaults))
    try:
        return kernel.build(**changes)
    except ValueError as error:
        if isinstance(error, PiblasError):
            raise
        args.parser.error(str(error))


def run_asm(args: argparse.Namespace) -> int:
    from ..kernels import spec

    if args.syntax:
        if args.kernel is not None:
            args.parser.error("--syntax takes no kernel or file")
        print(syntax.page(), end="")
        return 0
    if args.kernel is None:
        for name in spec.names():
            kernel = spec.get(name)
            defaults = dataclasses.asdict(kernel.defaults)
            print(f"{name}: {kernel.summary}")
            print(console.table(list(defaults.items())))
        return 0
    if args.kernel not in spec.names() and _is_file(args.kernel):
        if args.set:
            args.parser.error("--set goes with a kernel")
        source = read_program(args.kernel)
        listing = to_source(source.words, source.labels)
    else:
        program = _build(args)
        source = Source([int(word) for word in program.words], [], program.labels)
        listing = program.listing().rstrip("\n") + "\n"
    extension = os.path.splitext(args.output or "")[1]
    named = not (args.hex or args.bin or args.text)
    if args.bin or named and extension == ".bin":
        data = np.array(source.words, "<u8").tobytes()
    elif args.hex or named and extension == ".hex":
        data = "".join(f"{word:016x}\n" for word in source.words).encode()
    elif args.text:
        data = to_source(source.words, source.labels).encode()
    else:
        data = listing.encode()
    if args.output:
        with open(args.output, "wb") as file:
            file.write(data)
    elif args.bin and sys.stdout.isatty():
        args.parser.error("--bin wants -o FILE, or a pipe")
    else:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
    return 0


# --- dis ---------------------------------------------------------------------------------------


def run_dis(args: argparse.Namespace) -> int:
    source = read_program(args.file)
    text = to_source(source.words, source.labels, comments=not args.plain)
    for line in text.splitlines():  # a reader that has gone is noticed between lines
        print(line)
    return 1 if any(_is_data(word) for word in source.words) else 0


def _is_data(word: int) -> bool:
    try:
        decode(word)
    except DecodeError:
        return True
    return False
