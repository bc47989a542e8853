"""Make the toxicity scorer that ships with Luthier: see README.md."""
