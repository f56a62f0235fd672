"""The report docs/gallery.md, one module per section. `bash scripts/reproduce_gallery.sh` makes it."""
