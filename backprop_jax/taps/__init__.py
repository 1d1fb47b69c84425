"""Seeing and changing what happens inside of a function, without touching it.

Read in this order: `walk` (a program is run step by step while somebody looks on), `steps` (its
steps, and how a user names them), `hooks` (what flows back there), `births` (where values stop
being finite), `report` (what is said of it).
"""
