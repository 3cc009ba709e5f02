"""An evaluation as people read it: page, pictures, tables, terminal."""
