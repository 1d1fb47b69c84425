"""How a gradient is computed. No file here names a primitive: that is the business of `rules/`.

Read in this order: `tape` (a function runs, its steps are written down), `reverse` (the steps are
walked back), `cotangents` (what is added up on the way), `registry` (the words a rule is written
in), `custom` (rules the user brought along).
"""
