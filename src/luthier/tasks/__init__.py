"""Tasks: one YAML file each, and the loader that reads them."""
