"""Everything a source may import, imported once by the zygote: a worker can open no file and map nothing executable.

First the contract's modules, then what those reach for only when used (codecs, character names, helper modules). A test holds
the first part to `contract.ALLOWED_MODULES`. Standard library only.
"""

# ruff: noqa: F401
import __future__

import abc
import bisect
import collections
import contextlib
import copy
import dataclasses
import decimal
import encodings.ascii
import encodings.cp1252
import encodings.latin_1
import encodings.utf_16
import encodings.utf_32
import enum
import fractions
import functools
import heapq
import itertools
import json
import math
import numbers
import operator
import random
import re
import statistics
import string
import textwrap
import time
import types
import typing
import unicodedata
import weakref
