"""Grading what no environment grades: answers to public questions, and programs against tests, both in the sandbox.

Left out: whole replies (`env_synth.answers` finds the answer in one), and what a grade is used for.
"""
