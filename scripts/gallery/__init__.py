"""What docs/gallery.md says: a section a module. `bash scripts/reproduce_gallery.sh` runs it."""
