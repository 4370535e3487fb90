"""What the tests of the tools share."""

from __future__ import annotations

import pathlib

import numpy as np

from piblas import cli
from piblas.isa.source import assemble

PROGRAMS = pathlib.Path(__file__).parent / "programs"
END = "\nnop\nnop\nnop; thrend\nnop\nnop\n"


def run(capsys, *argv):
    """(exit code, stdout, stderr) of a command line."""
    try:
        code = cli.main([str(each) for each in argv])
    except SystemExit as end:
        code = end.code
    streams = capsys.readouterr()
    return code, streams.out, streams.err


def words_of(text):
    """The words of a text as an array."""
    return np.array(assemble(text).words, np.uint64)
