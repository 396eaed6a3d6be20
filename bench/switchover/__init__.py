"""A switchover with slackwater beside two others, under the same load, in turns.

`python -m bench.switchover --help`. The methods are in `methods.py`, and the two scripts an
administrator could have written are `by_hand.sh` and `syn_drop.sh`.
"""
