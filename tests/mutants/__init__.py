"""The checker is checked: rules with a mistake put in, one at a time, which it has to find.

`recording` holds one run of a case; `mutations` says which mistakes there are and makes them;
`battery` puts a mutant to the checks; `alarms` puts rules that are right to them.

python -m tests.mutants
"""
