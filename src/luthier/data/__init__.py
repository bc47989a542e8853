"""Examples as a model reads them: the one encoder, chat templates, tokenizers, batches."""
