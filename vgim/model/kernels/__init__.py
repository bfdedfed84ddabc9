"""Fast implementations of what the model computes: blocked convolutions, fused scores, Triton kernels."""
