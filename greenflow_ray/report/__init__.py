"""The PFEC report: performance, FLOPs, energy and carbon of one arm against another."""
