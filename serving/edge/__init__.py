"""The predictor for edge devices: one model in one bento, without registry or ledger."""
