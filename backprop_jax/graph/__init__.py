"""What does the way back look like? One run, written down step by step, with all its numbers.

recording, frames  a function run on concrete operands, forward and back, all values held
following          loops, branches and compiled functions, run step by step
explain            the backward pass as an object
building           from a recording to values and operations, with names, formulas and factors
summaries          what is told of an array
chain              as text: the chain rule, factor by factor
tree, opening      what the steps belong to, folds within folds; which are open at first
picture, folded    the picture as data, in full and folded
dot, drawing       that for Graphviz, and drawn by it
lines              each step beside what its rule computes on the way back, and what is kept
page, assets       that as a page of HTML, laid out by dagre, a JavaScript library that is in assets
"""
