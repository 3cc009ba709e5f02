"""The ingress: admits, batches, sends requests down the cascade, words answers and receipts."""
