"""`check_grads`: derivatives judged by measured slopes, for test suites.

check_grads  the public function: arguments, orders, modes
engines      who differentiates: ours, JAX, a gradient written by hand
sides        a function and its derivatives in one precision, as maps of vectors
examine      the questions put to them, and which answers are wrong
guilty       of a wrong answer the one element to blame
findings     what was found, as figures and as text
"""
