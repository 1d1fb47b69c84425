"""Experiments from YAML: how a file becomes a trained model and a folder of results.

document      a YAML file as values that know their line
compose       base files, the command line, references to other keys
schema        what the sections may say; optimizers, experiment add their keys
explain       what is wrong with them, in a user's words
plan          everything a run needs, checked before anything is run
task          the plan with its data on the device
state         what changes while training, from its beginning on
training      the compiled step and its loop, with an engine from gradients
folder        what is written; display and curves show it
snapshots     one checkpoint as one file; keeper says when, and which ones stay
hooks         what a configuration may do to cotangents on the way back
resume        going on with a run; stopping: being asked to end one
results       what an experiment shows when training is over
adapters      models of Flax, Equinox and Haiku as pure functions
run           one run from the file to the folder
sweep         many runs of one configuration
lesson        what a lesson is; comparing: what a comparison is; promises: what they must find
show          one lesson or comparison from the file to the folder; pages: what its page says
kinds         the kinds of configurations, in one list
listing       the configurations in a folder
vectorised    those that differ in numbers only, as one program: numbers, rows, members
commands      compare, schema

Named here are the functions for a program of one's own, see docs/library.md.
"""

from backprop_jax.runner.folder import json_lines as json_lines
from backprop_jax.runner.folder import read_lines as read_lines
from backprop_jax.runner.snapshots import load as load
from backprop_jax.runner.snapshots import save as save
from backprop_jax.runner.state import State as State
from backprop_jax.runner.state import begin as begin
from backprop_jax.runner.state import each_step as each_step
from backprop_jax.runner.task import batches as batches
from backprop_jax.runner.training import make_step as make_step
