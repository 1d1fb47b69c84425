"""What does the way back look like? One run, written down step by step, with all its numbers.

recording  a function run on concrete operands, forward and back, every value and cotangent held
following  loops, branches and compiled functions, run step by step
"""
