"""What does the way back look like? One run, written down step by step, with all its numbers.

recording    a function run on concrete operands, forward and back, every value and cotangent held
following    loops, branches and compiled functions, run step by step
explain      the backward pass as an object
building     from a recording to values and operations, with names, formulas and factors
chain        as text: the chain rule, factor by factor
dot, drawing, page  as a picture and as a page of HTML
folding      large programs made small
"""
