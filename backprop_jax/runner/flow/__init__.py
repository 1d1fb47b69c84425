"""How gradients flow through a model while it trains: layer by layer, in the order of depth.

layers     which layers there are, and how deep: read from the traced loss, the model untouched
measuring  norms, and dead units, within the compiled step
history    what was measured over the steps, as arrays; `gradient_flow` measures once
lookout    findings while a run goes on: of each kind one, when it is first so
findings   vanishing, exploding, dead units, steps too large or too small: in words, with numbers
pictures   layer × step, and norm against depth
"""
