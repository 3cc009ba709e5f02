"""What the pricing engine is measured against."""
