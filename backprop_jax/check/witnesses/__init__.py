"""Who can say what a gradient is.

A witness is a function from a `Question` to a `Witness`: the gradient by the path of its leaves,
with an error bar where it knows one, or why it does not apply. `named` lists them all by the names
that `compare` and the command line take; a new one is a row there.

witness     the question, and what a witness says
named       all witnesses by name; asked one by one
second      the second derivative as a first one
gradients   programs: ours, `jax.grad`, that in float64, a function written by hand
program     the function as a straight line of `steps`; `patterns` and `windows` are some of them
replay      takes the steps elsewhere: symbolic (sympy), digits (mpmath; both on `objects`),
            pytorch, gradient_tape
"""
