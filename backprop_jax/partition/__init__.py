"""What is kept for the way back, and what is computed again.

Read in this order: `cut` (the cheapest set of values from which all others can be had), `residuals`
(a jaxpr in two halves, and what crosses between them).
"""
