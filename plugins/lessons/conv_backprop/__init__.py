"""Backpropagation through a convolution, written out and looked at number by number."""
