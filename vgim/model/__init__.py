"""The model, in pure torch: convolutions, posterior, InfoNCE, one greedy module, the stack of them.

The package itself imports no torch, so that its parts for readers of a run don't: `specs`, `losses.facts`, `nat_cost`,
`collapse`.
"""
