"""FLOPs and CPU-seconds to joules to grams: meter, attribution, carbon intensity (no Ray)."""
