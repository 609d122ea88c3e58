"""Runs environments written by a model where they can harm nothing: not the host, not a sibling, not a score.

`host` is the way in; README.md beside this file is the threat model. This module imports nothing, because the zygote and the
workers pass through it and may load only the standard library.
"""
