"""Small tools that know nothing of recommenders: terminal, progress, files, import paths, kernels, kept results."""
