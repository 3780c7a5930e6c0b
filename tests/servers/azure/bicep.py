"""The Bicep on standard input as a tree, in JSON on standard output; or, where it is none, why and exit code 1.

The parser, pycep, is not Microsoft's, and no compiler: it knows the grammar and the functions, and not which properties a resource has.
"""

import json
import sys

from lark.exceptions import LarkError
from pycep import BicepParser

try:
    print(json.dumps(BicepParser().parse(text=sys.stdin.read())))
except LarkError as error:
    sys.exit(f"{type(error).__name__}: {error}")
