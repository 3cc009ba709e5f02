"""The recursive multi-basis model: its layout, fitting and teacher, and the kernel that serves it."""
