"""Ali-CCP: the raw files, streamed in blocks through compiled kernels, and the label-encoded tables made of them."""
