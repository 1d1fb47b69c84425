"""What is kept for the way back, and what is computed again.

Read in this order: `cut` (the cheapest set of values from which all others can be had), `choice`
(which ones those are for a jaxpr), `residuals` (a jaxpr in two halves, and what crosses).
"""
