"""What changes a model: full, selective, LoRA, adapters, soft prompts."""
