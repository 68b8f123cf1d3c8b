"""How a ticket runs fast: kernels over its non-zeros, compiled on the user's machine without a compiler there.

`convert` turns a model and a ticket into a network that computes the surviving weights only; `common.sparse.tune`
chooses every layer's form by its measured time. See the paper that showed direct sparse convolution to pay on CPUs:
Park et al., Faster CNNs with Direct Sparse Convolutions and Guided Pruning, ICLR 2017.
"""
