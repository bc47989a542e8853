"""What made the embedded model `mini`, from nothing: tokenizer, pretraining, instruction tuning, model card."""
