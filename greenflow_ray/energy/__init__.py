"""FLOPs and CPU-seconds to joules to grams: meters, accounts, limits and the grid's carbon intensity (no Ray)."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
