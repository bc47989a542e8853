"""Fast, exact computation on tensors and modules: attention, cross-entropy, matrix products, memory."""
