"""What a chain is worth to a request: the recursive multi-basis model, its samples, training and calibration."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
