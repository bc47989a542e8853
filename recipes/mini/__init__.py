"""The recipe of the embedded model `mini`: tokenizer, pretraining, instruction tuning and model card."""
