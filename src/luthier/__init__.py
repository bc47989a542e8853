"""Fine-tune a language model on your task, and know what you gained, what it cost, and what it forgot."""
