"""What scores items: the contract, the paper's four networks, their costs, training and artifacts."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
