"""Tasks: one YAML file each; from rows of any source to examples, and the splits of these."""
